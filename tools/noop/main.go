// Command noop is the yardstick of the HTTP benchmark: a server on the same
// stack as ours that reads each request and writes a fixed answer, with the
// headers and the body that our server gave to the same request once.
package main

import (
	"bytes"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"

	"github.com/valyala/fasthttp"
)

func main() {
	listen := flag.String("listen", "127.0.0.1:8081", "address")
	like := flag.String("like", "http://127.0.0.1:8080/predict", "URL whose answer is given")
	body := flag.String("request", "", "file with the request's body")
	flag.Parse()
	if err := run(*listen, *like, *body); err != nil {
		fmt.Fprintln(os.Stderr, "noop:", err)
		os.Exit(1)
	}
}

func run(listen, like, bodyFile string) error {
	request, err := os.ReadFile(bodyFile)
	if err != nil {
		return err
	}
	resp, err := http.Post(like, "application/json", bytes.NewReader(request))
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answered %s: %s", like, resp.Status, answer)
	}
	contentType := resp.Header.Get("Content-Type")
	type field struct{ name, value string }
	var fields []field
	for name, values := range resp.Header {
		switch name {
		case "Content-Type", "Content-Length", "Date", "Connection":
		default:
			fields = append(fields, field{name, values[0]})
		}
	}
	server := &fasthttp.Server{
		NoDefaultServerHeader: true,
		Handler: func(ctx *fasthttp.RequestCtx) {
			if !bytes.Equal(ctx.PostBody(), request) {
				ctx.SetStatusCode(http.StatusBadRequest)
				return
			}
			ctx.SetContentType(contentType)
			for i := range fields {
				ctx.Response.Header.Set(fields[i].name, fields[i].value)
			}
			ctx.SetBody(answer)
		},
	}
	return server.ListenAndServe(listen)
}
