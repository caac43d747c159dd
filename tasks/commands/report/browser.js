// Search. Without this script, everything can still be read.
const input = document.querySelector('#search')
const found = document.querySelector('#found')
const entries = [...document.querySelectorAll('#list details')]
let texts

input.addEventListener('input', () => {
  // Folded text is searched too, but not PEM.
  texts ??= entries.map((entry) =>
    `${entry.querySelector('summary').textContent} ${entry.querySelector('dl').textContent}`.toLowerCase(),
  )
  const words = input.value.toLowerCase().split(/\s+/).filter(Boolean)
  for (const [i, entry] of entries.entries()) entry.hidden = !words.every((word) => texts[i].includes(word))
  const count = entries.filter(({ hidden }) => !hidden).length
  found.textContent = words.length === 0 ? '' : `${count} of ${entries.length}`
})
