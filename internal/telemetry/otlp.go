package telemetry

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
)

// The timing of an export: the default timeout is that of the specification,
// the rest that of OpenTelemetry's own exporters.
const (
	exportTimeout = 10 * time.Second
	retryFirst    = 5 * time.Second
	retryMost     = 30 * time.Second
	retryInAll    = time.Minute
)

// otlpClient sends spans by OTLP over HTTP in protobuf. It stands in the place
// of OpenTelemetry's otlptracehttp, which links all of gRPC (3 MiB) for a
// message type; the spans' conversion is the library's.
//
// What it is set up by are the variables of the specification "OpenTelemetry
// Protocol Exporter": endpoint, headers, timeout, compression and certificates,
// each with and without TRACES in its name.
type otlpClient struct {
	url     string
	header  http.Header
	gzip    bool
	timeout time.Duration // of one request
	wait    time.Duration // before the second one
	http    *http.Client
}

// otlpVariable reads a variable of the exporter, that of traces first.
func otlpVariable(name string) string {
	return cmp.Or(os.Getenv("OTEL_EXPORTER_OTLP_TRACES_"+name), os.Getenv("OTEL_EXPORTER_OTLP_"+name))
}

func newOTLPClient() (*otlpClient, error) {
	c := &otlpClient{header: http.Header{}, timeout: exportTimeout, wait: retryFirst}
	endpoint := os.Getenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
	if endpoint == "" {
		endpoint = strings.TrimSuffix(os.Getenv("OTEL_EXPORTER_OTLP_ENDPOINT"), "/") + "/v1/traces"
	}
	u, err := url.Parse(endpoint)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, fmt.Errorf("the endpoint %q is no address of http or https", endpoint)
	}
	if u.Path == "" {
		u.Path = "/"
	}
	c.url = u.String()
	for pair := range strings.SplitSeq(otlpVariable("HEADERS"), ",") {
		if strings.TrimSpace(pair) == "" {
			continue
		}
		key, value, ok := strings.Cut(pair, "=")
		value, err := url.PathUnescape(strings.TrimSpace(value))
		if !ok || err != nil {
			return nil, errors.New("OTEL_EXPORTER_OTLP_HEADERS is not of the form key=value,key=value") // The value may be a secret.
		}
		c.header.Set(strings.TrimSpace(key), value)
	}
	c.header.Set("Content-Type", "application/x-protobuf")
	switch how := otlpVariable("COMPRESSION"); how {
	case "gzip":
		c.gzip = true
		c.header.Set("Content-Encoding", "gzip")
	case "", "none":
	default:
		return nil, fmt.Errorf("OTEL_EXPORTER_OTLP_COMPRESSION is %q; there are gzip and none", how)
	}
	if text := otlpVariable("TIMEOUT"); text != "" {
		ms, err := strconv.Atoi(text)
		if err != nil || ms <= 0 {
			return nil, fmt.Errorf("OTEL_EXPORTER_OTLP_TIMEOUT is %q; milliseconds were wanted", text)
		}
		c.timeout = time.Duration(ms) * time.Millisecond
	}
	security, err := otlpTLS()
	if err != nil {
		return nil, err
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.TLSClientConfig = security
	c.http = &http.Client{Transport: transport}
	return c, nil
}

// otlpTLS reads the certificates that the variables name; nil is the system's.
func otlpTLS() (*tls.Config, error) {
	authority, certificate, key := otlpVariable("CERTIFICATE"), otlpVariable("CLIENT_CERTIFICATE"), otlpVariable("CLIENT_KEY")
	if authority == "" && certificate == "" {
		return nil, nil //nolint:nilnil // The zero configuration is what is meant.
	}
	c := &tls.Config{MinVersion: tls.VersionTLS12}
	if authority != "" {
		text, err := os.ReadFile(authority)
		if err != nil {
			return nil, err
		}
		if c.RootCAs = x509.NewCertPool(); !c.RootCAs.AppendCertsFromPEM(text) {
			return nil, fmt.Errorf("%s holds no certificate", authority)
		}
	}
	if certificate != "" {
		pair, err := tls.LoadX509KeyPair(certificate, key)
		if err != nil {
			return nil, err
		}
		c.Certificates = []tls.Certificate{pair}
	}
	return c, nil
}

// Start implements otlptrace.Client.
func (c *otlpClient) Start(context.Context) error { return nil }

// Stop implements otlptrace.Client.
func (c *otlpClient) Stop(context.Context) error {
	c.http.CloseIdleConnections()
	return nil
}

// UploadTraces implements otlptrace.Client. A collector that is busy is asked
// again, as it says or at growing intervals.
func (c *otlpClient) UploadTraces(ctx context.Context, spans []*tracepb.ResourceSpans) error {
	// TracesData has the fields of ExportTraceServiceRequest, whose package
	// brings gRPC: on the wire they are the same (opentelemetry-proto, the
	// comment at TracesData).
	body, err := proto.Marshal(&tracepb.TracesData{ResourceSpans: spans})
	if err != nil {
		return err
	}
	if c.gzip {
		var b bytes.Buffer
		z := gzip.NewWriter(&b)
		if _, err := z.Write(body); err != nil {
			return err
		}
		if err := z.Close(); err != nil {
			return err
		}
		body = b.Bytes()
	}
	ctx, cancel := context.WithTimeout(ctx, retryInAll)
	defer cancel()
	for wait := c.wait; ; wait = min(2*wait, retryMost) {
		again, after, err := c.post(ctx, body)
		if err == nil || !again {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(max(wait, after)):
		}
	}
}

// post sends one request. again tells whether the collector may take it later,
// and after how long it said.
func (c *otlpClient) post(ctx context.Context, body []byte) (again bool, after time.Duration, err error) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, c.url, bytes.NewReader(body))
	if err != nil {
		return false, 0, err
	}
	r.Header = c.header.Clone()
	answer, err := c.http.Do(r)
	if err != nil {
		return false, 0, err
	}
	defer answer.Body.Close() //nolint:errcheck // Nothing is lost with it.
	if _, err := io.Copy(io.Discard, io.LimitReader(answer.Body, 1<<20)); err != nil {
		return false, 0, err
	}
	switch answer.StatusCode {
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		if s, err := strconv.Atoi(answer.Header.Get("Retry-After")); err == nil && s > 0 {
			after = min(time.Duration(s)*time.Second, retryInAll)
		}
		return true, after, fmt.Errorf("the collector answered %s", answer.Status)
	}
	if answer.StatusCode/100 != 2 {
		return false, 0, fmt.Errorf("the collector answered %s", answer.Status)
	}
	return false, 0, nil
}
