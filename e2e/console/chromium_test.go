//go:build e2e

package console_test

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"
)

// patience is how long anything may take on a busy machine.
const patience = 2 * time.Minute

// chromium is a browser without a window that takes commands of the DevTools
// protocol over a pipe: messages of JSON with a zero byte behind each.
type chromium struct {
	cmd  *exec.Cmd
	dir  string
	in   io.WriteCloser
	read chan struct{} // closed when the browser is gone

	mu      sync.Mutex // guards what follows
	last    int
	waiting map[int]chan message
	pages   map[string]*page // by session
	ended   error
}

// message is a command, its answer or an event.
type message struct {
	ID      int             `json:"id,omitzero"`
	Session string          `json:"sessionId,omitempty"`
	Method  string          `json:"method,omitempty"`
	Params  json.RawMessage `json:"params,omitempty"`
	Result  json.RawMessage `json:"result,omitempty"`
	Error   *struct {
		Message string `json:"message"`
	} `json:"error,omitempty"`
}

// browser is the one of all tests; each page has cookies and a storage of its own.
var browser = sync.OnceValues(startChromium)

// startChromium starts a browser that can reach this machine only.
func startChromium() (*chromium, error) {
	if out, err := exec.Command("../../tools/need", "chromium").CombinedOutput(); err != nil {
		return nil, fmt.Errorf("%w\n%s", err, out)
	}
	hereIn, in, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	out, hereOut, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "carla-rl-chromium")
	if err != nil {
		return nil, err
	}
	c := &chromium{in: in, dir: dir, read: make(chan struct{}), waiting: map[int]chan message{}, pages: map[string]*page{}}
	c.cmd = exec.Command("chromium",
		"--headless=new", "--remote-debugging-pipe", "--user-data-dir="+dir,
		"--no-sandbox", // tests run as root, whom the sandbox refuses
		"--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--no-default-browser-check", "--mute-audio",
		"--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-extensions", "--disable-default-apps",
		"--disable-background-timer-throttling", "--disable-renderer-backgrounding", "--disable-backgrounding-occluded-windows",
		"--hide-scrollbars", "--force-color-profile=srgb", "--lang=en-US",
		"--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1", "about:blank")
	c.cmd.ExtraFiles = []*os.File{hereIn, hereOut}
	if err := c.cmd.Start(); err != nil {
		return nil, err
	}
	hereIn.Close()
	hereOut.Close()
	go func() {
		defer close(c.read)
		c.listen(out)
	}()
	return c, nil
}

// stop ends the browser. One that is asked to end leaves no processes behind.
func (c *chromium) stop() {
	_, _ = c.call("", "Browser.close", nil)
	c.in.Close()
	<-c.read
	_ = c.cmd.Wait()
	os.RemoveAll(c.dir)
}

// listen hands answers to those who wait for them and events to their pages.
func (c *chromium) listen(out io.Reader) {
	r := bufio.NewReaderSize(out, 1<<20)
	for {
		text, err := r.ReadBytes(0)
		if err != nil {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.ended = fmt.Errorf("the browser is gone: %w", err)
			for _, w := range c.waiting {
				close(w)
			}
			c.waiting = nil
			return
		}
		var m message
		if json.Unmarshal(text[:len(text)-1], &m) != nil {
			continue
		}
		c.mu.Lock()
		waiting, p := c.waiting[m.ID], c.pages[m.Session]
		delete(c.waiting, m.ID)
		c.mu.Unlock()
		switch {
		case waiting != nil:
			waiting <- m
		case p != nil:
			p.happened(m)
		}
	}
}

// call gives a command and returns its result.
func (c *chromium) call(session, method string, params any) (json.RawMessage, error) {
	raw, err := json.Marshal(params)
	if err != nil {
		return nil, err
	}
	if params == nil {
		raw = json.RawMessage("{}")
	}
	answer := make(chan message, 1)
	c.mu.Lock()
	if c.ended != nil {
		defer c.mu.Unlock()
		return nil, c.ended
	}
	c.last++
	text, err := json.Marshal(message{ID: c.last, Session: session, Method: method, Params: raw})
	if err == nil {
		c.waiting[c.last] = answer
		_, err = c.in.Write(append(text, 0))
	}
	c.mu.Unlock()
	if err != nil {
		return nil, err
	}
	select {
	case m, ok := <-answer:
		switch {
		case !ok:
			return nil, fmt.Errorf("%s: the browser is gone", method)
		case m.Error != nil:
			return nil, fmt.Errorf("%s: %s", method, m.Error.Message)
		}
		return m.Result, nil
	case <-time.After(patience):
		return nil, fmt.Errorf("%s: no answer", method)
	}
}

// page is one tab, with what it said and asked for.
type page struct {
	t       *testing.T
	c       *chromium
	session string

	mu       sync.Mutex // guards what follows
	troubles []string   // what its log has of errors and warnings
	requests []string   // addresses of all requests
}

// newPage opens a tab of a size.
func newPage(t *testing.T, width, height int) *page {
	t.Helper()
	c, err := browser()
	if err != nil {
		t.Fatal(err)
	}
	p := &page{t: t, c: c}
	own := p.command("Target.createBrowserContext", nil).Context
	target := p.command("Target.createTarget", map[string]any{"url": "about:blank", "browserContextId": own}).Target
	attached := p.command("Target.attachToTarget", map[string]any{"targetId": target, "flatten": true})
	p.session = attached.Session
	c.mu.Lock()
	c.pages[p.session] = p
	c.mu.Unlock()
	for _, domain := range []string{"Page", "Runtime", "Log", "Network"} {
		p.call(domain+".enable", nil)
	}
	p.call("Emulation.setDeviceMetricsOverride", map[string]any{"width": width, "height": height, "deviceScaleFactor": 1, "mobile": false})
	p.call("Emulation.setFocusEmulationEnabled", map[string]any{"enabled": true})
	t.Cleanup(func() { _, _ = c.call("", "Target.disposeBrowserContext", map[string]any{"browserContextId": own}) })
	return p
}

// ids are what commands to the browser answer.
type ids struct {
	Context string `json:"browserContextId"`
	Target  string `json:"targetId"`
	Session string `json:"sessionId"`
}

// command is one to the browser itself.
func (p *page) command(method string, params any) (r ids) {
	p.t.Helper()
	raw, err := p.c.call("", method, params)
	if err != nil {
		p.t.Fatal(err)
	}
	decode(p.t, raw, &r)
	return r
}

func (p *page) happened(m message) {
	var v struct {
		Type  string `json:"type"`
		Entry struct {
			Level, Text, URL string
		} `json:"entry"`
		Args []struct {
			Value       json.RawMessage `json:"value"`
			Description string          `json:"description"`
		} `json:"args"`
		Exception struct {
			Text      string `json:"text"`
			Exception struct {
				Description string `json:"description"`
			} `json:"exception"`
		} `json:"exceptionDetails"`
		Request struct {
			URL string `json:"url"`
		} `json:"request"`
		URL string `json:"url"`
	}
	if json.Unmarshal(m.Params, &v) != nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	switch m.Method {
	case "Runtime.exceptionThrown":
		p.troubles = append(p.troubles, "thrown: "+v.Exception.Text+" "+v.Exception.Exception.Description)
	case "Runtime.consoleAPICalled":
		if v.Type == "error" || v.Type == "warning" || v.Type == "assert" {
			p.troubles = append(p.troubles, fmt.Sprintf("console.%s: %v", v.Type, v.Args))
		}
	case "Log.entryAdded":
		if v.Entry.Level == "error" || v.Entry.Level == "warning" {
			p.troubles = append(p.troubles, v.Entry.Level+": "+v.Entry.Text+" "+v.Entry.URL)
		}
	case "Network.requestWillBeSent":
		p.requests = append(p.requests, v.Request.URL)
	case "Network.webSocketCreated":
		p.requests = append(p.requests, v.URL)
	}
}

// said returns what the log of the page has of errors and warnings so far.
func (p *page) said() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]string(nil), p.troubles...)
}

// forget empties the log of the page.
func (p *page) forget() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.troubles = nil
}

// asked returns the addresses that the page asked for so far.
func (p *page) asked() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]string(nil), p.requests...)
}

func (p *page) call(method string, params any) json.RawMessage {
	p.t.Helper()
	r, err := p.c.call(p.session, method, params)
	if err != nil {
		p.t.Fatal(err)
	}
	return r
}

// open goes to an address and waits until the page is there.
func (p *page) open(url string) {
	p.t.Helper()
	var r struct {
		Error string `json:"errorText"`
	}
	decode(p.t, p.call("Page.navigate", map[string]any{"url": url}), &r)
	if r.Error != "" {
		p.t.Fatalf("%s: %s", url, r.Error)
	}
	p.wait(`document.readyState === "complete"`)
}

// eval runs an expression, which may be a promise, and decodes its value.
func (p *page) eval(expression string, to any) {
	p.t.Helper()
	raw, err := p.try(expression)
	if err != nil {
		p.t.Fatalf("%s: %v", expression, err)
	}
	if to != nil {
		decode(p.t, raw, to)
	}
}

func (p *page) try(expression string) (json.RawMessage, error) {
	raw, err := p.c.call(p.session, "Runtime.evaluate", map[string]any{"expression": expression, "awaitPromise": true, "returnByValue": true, "userGesture": true})
	if err != nil {
		return nil, err
	}
	var r struct {
		Result struct {
			Value json.RawMessage `json:"value"`
		} `json:"result"`
		Exception *struct {
			Text      string `json:"text"`
			Exception struct {
				Description string `json:"description"`
			} `json:"exception"`
		} `json:"exceptionDetails"`
	}
	if err := json.Unmarshal(raw, &r); err != nil {
		return nil, err
	}
	if r.Exception != nil {
		return nil, errors.New(r.Exception.Text + " " + r.Exception.Exception.Description)
	}
	return r.Result.Value, nil
}

// text returns the value of an expression that is a text.
func (p *page) text(expression string) string {
	p.t.Helper()
	var s string
	p.eval("String("+expression+")", &s)
	return s
}

// wait waits until an expression is true.
func (p *page) wait(expression string) {
	p.t.Helper()
	var last error
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		raw, err := p.try("Boolean(" + expression + ")")
		if last = err; err == nil && string(raw) == "true" {
			return
		}
	}
	body, _ := p.try("document.body.innerText")
	p.t.Fatalf("%s did not come true (%v); the log has %q; the page:\n%s", expression, last, p.said(), strings.ReplaceAll(string(body), `\n`, "\n"))
}

// press presses and releases a key.
func (p *page) press(key string, code int, modifiers int) {
	p.t.Helper()
	text := ""
	if key == "Enter" {
		text = "\r"
	}
	for _, kind := range []string{"keyDown", "keyUp"} {
		p.call("Input.dispatchKeyEvent", map[string]any{"type": kind, "key": key, "code": key, "windowsVirtualKeyCode": code, "modifiers": modifiers, "text": text})
		text = ""
	}
}

// typed puts a text into the element that has the focus, as a keyboard does.
func (p *page) typed(text string) { p.call("Input.insertText", map[string]any{"text": text}) }

// theme makes the page see a preference of its reader, who likes nothing to move.
func (p *page) theme(name string) { p.prefer(name, "reduce") }

// moving is theme for a reader who does not mind.
func (p *page) moving(name string) { p.prefer(name, "no-preference") }

func (p *page) prefer(scheme, motion string) {
	p.t.Helper()
	p.call("Emulation.setEmulatedMedia", map[string]any{"features": []map[string]string{{"name": "prefers-color-scheme", "value": scheme}, {"name": "prefers-reduced-motion", "value": motion}}})
}

// screenshot returns what is in view as PNG.
func (p *page) screenshot() []byte {
	p.t.Helper()
	var r struct {
		Data []byte `json:"data"`
	}
	decode(p.t, p.call("Page.captureScreenshot", map[string]any{"format": "png"}), &r)
	return r.Data
}

func decode(t *testing.T, raw json.RawMessage, to any) {
	t.Helper()
	if len(raw) == 0 {
		raw = json.RawMessage("null")
	}
	if err := json.Unmarshal(raw, to); err != nil {
		t.Fatalf("%v: %s", err, raw)
	}
}
