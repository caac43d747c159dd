/** Chromium, with a profile that is new and gone afterwards, and without a word to the network on its own account. What it writes besides goes into the given home. */
import { type Browser, chromium } from 'playwright-core'

const args = [
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
]

export function startBrowser(home: string): Promise<Browser> {
  const env = { PATH: process.env.PATH, HOME: home }
  return chromium.launch({ executablePath: '/usr/bin/chromium', args, env })
}
