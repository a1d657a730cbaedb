// Command noop is the yardstick of the HTTP benchmark: a server that reads each
// request and writes a fixed answer, with the headers and the body that our
// server gave to the same request once. It is there on the two stacks of Go,
// fasthttp and net/http.
package main

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"

	"github.com/valyala/fasthttp"
)

func main() {
	listen := flag.String("listen", "127.0.0.1:8081", "address")
	like := flag.String("like", "http://127.0.0.1:8080/predict", "URL whose answer is given")
	body := flag.String("request", "", "file with the request's body")
	stack := flag.String("stack", "fasthttp", "fasthttp or nethttp")
	flag.Parse()
	if err := run(*stack, *listen, *like, *body); err != nil {
		fmt.Fprintln(os.Stderr, "noop:", err)
		os.Exit(1)
	}
}

// field is a header of the answer.
type field struct{ name, value string }

// exchange is what is read, and what is answered to it.
type exchange struct {
	request     []byte
	contentType string
	fields      []field // but those that the stack writes itself
	answer      []byte
}

func run(stack, listen, like, bodyFile string) error {
	e, err := record(like, bodyFile)
	if err != nil {
		return err
	}
	switch stack {
	case "fasthttp":
		s := &fasthttp.Server{NoDefaultServerHeader: true, Handler: e.fast}
		return s.ListenAndServe(listen)
	case "nethttp":
		s := &http.Server{Addr: listen, Handler: e}
		return s.ListenAndServe()
	}
	return fmt.Errorf("stack %q: fasthttp or nethttp", stack)
}

// record asks the other server once.
func record(like, bodyFile string) (*exchange, error) {
	request, err := os.ReadFile(bodyFile)
	if err != nil {
		return nil, err
	}
	resp, err := http.Post(like, "application/json", bytes.NewReader(request))
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s answered %s: %s", like, resp.Status, answer)
	}
	e := &exchange{request: request, answer: answer, contentType: resp.Header.Get("Content-Type")}
	for name, values := range resp.Header {
		switch name {
		case "Content-Type", "Content-Length", "Date", "Connection":
		default:
			e.fields = append(e.fields, field{name, values[0]})
		}
	}
	return e, nil
}

func (e *exchange) fast(ctx *fasthttp.RequestCtx) {
	if !bytes.Equal(ctx.PostBody(), e.request) {
		ctx.SetStatusCode(http.StatusBadRequest)
		return
	}
	ctx.SetContentType(e.contentType)
	for i := range e.fields {
		ctx.Response.Header.Set(e.fields[i].name, e.fields[i].value)
	}
	ctx.SetBody(e.answer)
}

// ServeHTTP does the same on net/http.
func (e *exchange) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body := make([]byte, len(e.request))
	// Another byte than the request's would be one too many.
	if _, err := io.ReadFull(r.Body, body); err != nil || !bytes.Equal(body, e.request) {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	if n, err := r.Body.Read(make([]byte, 1)); n > 0 || !errors.Is(err, io.EOF) {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	h := w.Header()
	h.Set("Content-Type", e.contentType)
	h.Set("Content-Length", strconv.Itoa(len(e.answer)))
	for i := range e.fields {
		h[e.fields[i].name] = []string{e.fields[i].value}
	}
	_, _ = w.Write(e.answer)
}
