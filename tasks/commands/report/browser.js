// Search, and details that open where the page's address names them. Without this script, everything can still be read.
const input = document.querySelector('#search')
const found = document.querySelector('#found')
const entries = [...document.querySelectorAll('#list details')]
let texts

function search() {
  // Folded text is searched too, but not PEM.
  texts ??= entries.map((entry) =>
    `${entry.querySelector('summary').textContent} ${entry.querySelector('dl').textContent}`.toLowerCase(),
  )
  const words = input.value.toLowerCase().split(/\s+/).filter(Boolean)
  let count = 0
  for (const [i, entry] of entries.entries()) {
    const isFound = words.every((word) => texts[i].includes(word))
    if (isFound) count++
    entry.hidden = !isFound
  }
  found.textContent = words.length === 0 ? '' : `${count} of ${entries.length}`
}

function openTarget() {
  const target = document.getElementById(location.hash.slice(1))
  if (!target?.matches('#list details')) return
  input.value = ''
  search()
  target.open = true
  target.scrollIntoView()
  target.querySelector('summary').focus()
}

input.addEventListener('input', search)
addEventListener('hashchange', openTarget)
openTarget()
