package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"time"
)

// account is where a pod finds the authority and the token of its service account.
const account = "/var/run/secrets/kubernetes.io/serviceaccount"

// api asks the cluster's API server as the pod's service account.
type api struct {
	client *http.Client
	base   string
}

func newAPI() (*api, error) {
	ca, err := os.ReadFile(account + "/ca.crt")
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(ca) {
		return nil, fmt.Errorf("no certificate in %s/ca.crt", account)
	}
	return &api{
		client: &http.Client{
			Timeout:   5 * time.Second,
			Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}},
		},
		base: "https://" + net.JoinHostPort(os.Getenv("KUBERNETES_SERVICE_HOST"), os.Getenv("KUBERNETES_SERVICE_PORT")),
	}, nil
}

func (a *api) do(ctx context.Context, method, path, contentType string, body []byte, into any) error {
	token, err := os.ReadFile(account + "/token")
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, method, a.base+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(token)))
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	res, err := a.client.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = res.Body.Close() }()
	got, err := io.ReadAll(res.Body)
	if err != nil {
		return err
	}
	if res.StatusCode >= 300 {
		return fmt.Errorf("%s %s: %s: %.200s", method, path, res.Status, got)
	}
	if into == nil {
		return nil
	}
	return json.Unmarshal(got, into)
}

func (a *api) get(ctx context.Context, path string, into any) error {
	return a.do(ctx, http.MethodGet, path, "", nil, into)
}

// meta is what is read of an object's metadata.
type meta struct {
	Name, Namespace string
	Annotations     map[string]string
}

// ingress is what is read of a networking.k8s.io/v1 Ingress.
type ingress struct {
	Metadata meta
	Spec     struct {
		IngressClassName *string
		TLS              []struct {
			Hosts      []string
			SecretName string
		}
		Rules []struct {
			Host string
			HTTP *struct {
				Paths []struct {
					Path, PathType string
					Backend        struct {
						Service *struct {
							Name string
							Port struct {
								Name   string
								Number int
							}
						}
					}
				}
			}
		}
	}
	Status struct {
		LoadBalancer struct{ Ingress []struct{ IP string } }
	}
}

// gateway is what is read of a gateway.networking.k8s.io/v1 Gateway.
type gateway struct {
	Metadata meta
	Spec     struct {
		GatewayClassName string
		Listeners        []struct {
			Name, Protocol, Hostname string
			Port                     int
			TLS                      *struct {
				CertificateRefs []struct{ Name, Namespace string }
			}
		}
	}
}

// httpRoute is what is read of a gateway.networking.k8s.io/v1 HTTPRoute.
type httpRoute struct {
	Metadata meta
	Spec     struct {
		ParentRefs []struct{ Name, Namespace, SectionName string }
		Hostnames  []string
		Rules      []struct {
			Matches []struct {
				Path *struct{ Type, Value string }
			}
			BackendRefs []struct {
				Name string
				Port int
			}
		}
	}
}

// service is what is read of a Service.
type service struct {
	Spec struct {
		ClusterIP string
		Ports     []struct {
			Name string
			Port int
		}
	}
}
