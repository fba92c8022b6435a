/* Search from disk: browsers refuse a Worker of a file: URL, so its script runs in a hidden frame, with the same messages. */
if (location.protocol === "file:") {
  window.Worker = class extends EventTarget {
    constructor(url) {
      super()
      const frame = document.createElement("iframe")
      frame.hidden = true
      document.body.append(frame)
      const scope = frame.contentWindow
      const waiting = []
      let ready = false
      const run = source => {
        const script = frame.contentDocument.createElement("script")
        script.src = source
        script.async = false
        return new Promise((resolve, reject) => {
          script.onload = resolve
          script.onerror = reject
          frame.contentDocument.body.append(script)
        })
      }
      /* The worker's own globals: its postMessage reaches this page, importScripts waits for each script in turn. */
      scope.importScripts = (...sources) => sources.reduce((last, next) => last.then(() => run(next)), Promise.resolve())
      scope.postMessage = data => this.dispatchEvent(new MessageEvent("message", {data}))
      this.deliver = data => scope.dispatchEvent(new scope.MessageEvent("message", {data}))
      this.postMessage = data => (ready ? this.deliver(data) : waiting.push(data))
      this.terminate = () => frame.remove()
      run(new URL(url, location.href).href).then(() => {
        ready = true
        waiting.forEach(this.deliver)
      })
    }
  }
}
