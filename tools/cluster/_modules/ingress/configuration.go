package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log"
	"net"
	"slices"
	"strconv"
	"strings"
)

// annotation is the prefix of ingress-nginx's annotations.
const annotation = "nginx.ingress.kubernetes.io/"

// configuration becomes one nginx.conf.
type configuration struct {
	api          *api
	certificates map[string][2][]byte // by the name of their files
	servers      map[string]*server   // by host name
	hosts        int
}

// server is one virtual host.
type server struct {
	certificate string // path without suffix; empty: no TLS
	redirect    bool   // plain HTTP is sent to HTTPS
	locations   map[string]location
}

// location is one path of a virtual host.
type location struct {
	exact    bool
	target   string // address and port
	settings []string
}

func (c *configuration) server(host string) *server {
	if c.servers[host] == nil {
		c.servers[host] = &server{locations: map[string]location{}}
	}
	return c.servers[host]
}

// build reads the cluster and returns the configuration.
func (c *configuration) build(ctx context.Context, status string) ([]byte, error) {
	c.servers = map[string]*server{}
	if err := c.ingresses(ctx, status); err != nil {
		return nil, err
	}
	if err := c.routes(ctx); err != nil {
		return nil, err
	}
	c.hosts = len(c.servers)
	return c.render(), nil
}

// target finds the address of a Service's port, by number or by name.
func (c *configuration) target(ctx context.Context, namespace, name string, number int, port string) (string, error) {
	var s service
	if err := c.api.get(ctx, "/api/v1/namespaces/"+namespace+"/services/"+name, &s); err != nil {
		return "", err
	}
	for _, p := range s.Spec.Ports {
		if p.Port == number || port != "" && p.Name == port {
			return net.JoinHostPort(s.Spec.ClusterIP, strconv.Itoa(p.Port)), nil
		}
	}
	return "", fmt.Errorf("service %s/%s has no port %d%s", namespace, name, number, port)
}

func (c *configuration) ingresses(ctx context.Context, status string) error {
	var list struct{ Items []ingress }
	if err := c.api.get(ctx, "/apis/networking.k8s.io/v1/ingresses", &list); err != nil {
		return err
	}
	for _, in := range list.Items {
		if in.Spec.IngressClassName != nil && *in.Spec.IngressClassName != "nginx" {
			continue
		}
		if err := c.ingress(ctx, in); err != nil {
			log.Printf("ingress %s/%s: %v", in.Metadata.Namespace, in.Metadata.Name, err)
			continue
		}
		if status != "" && len(in.Status.LoadBalancer.Ingress) == 0 {
			body, err := json.Marshal(map[string]any{"status": map[string]any{"loadBalancer": map[string]any{"ingress": []any{map[string]any{"ip": status}}}}})
			if err != nil {
				return err
			}
			path := "/apis/networking.k8s.io/v1/namespaces/" + in.Metadata.Namespace + "/ingresses/" + in.Metadata.Name + "/status"
			if err := c.api.do(ctx, "PATCH", path, "application/merge-patch+json", body, nil); err != nil {
				log.Print(err)
			}
		}
	}
	return nil
}

func (c *configuration) ingress(ctx context.Context, in ingress) error {
	secret := map[string]string{}
	for _, t := range in.Spec.TLS {
		path, err := c.certificate(ctx, in.Metadata.Namespace, t.SecretName)
		if err != nil {
			log.Printf("ingress %s/%s is served without TLS: %v", in.Metadata.Namespace, in.Metadata.Name, err)
			continue
		}
		for _, h := range t.Hosts {
			secret[h] = path
		}
	}
	settings, rewrite := settingsOf(in.Metadata)
	for _, r := range in.Spec.Rules {
		s := c.server(r.Host)
		if path := secret[r.Host]; path != "" {
			s.certificate = path
			s.redirect = in.Metadata.Annotations[annotation+"ssl-redirect"] != "false"
		}
		if r.HTTP == nil {
			continue
		}
		for _, p := range r.HTTP.Paths {
			if p.Backend.Service == nil {
				continue
			}
			b := p.Backend.Service
			target, err := c.target(ctx, in.Metadata.Namespace, b.Name, b.Port.Number, b.Port.Name)
			if err != nil {
				return err
			}
			l := location{exact: p.PathType == "Exact", target: target, settings: slices.Clone(settings)}
			if rewrite != "" {
				l.settings = append(l.settings, "rewrite ^ "+rewrite+" break;")
			}
			s.locations[p.Path] = l
		}
	}
	return nil
}

// settingsOf translates the annotations that this project's manifests use.
func settingsOf(m meta) (settings []string, rewrite string) {
	for _, name := range slices.Sorted(keys(m.Annotations)) {
		v := m.Annotations[name]
		key, ours := strings.CutPrefix(name, annotation)
		if !ours {
			continue
		}
		switch key {
		case "rewrite-target":
			rewrite = v
		case "proxy-body-size":
			settings = append(settings, "client_max_body_size "+v+";")
		case "proxy-read-timeout", "proxy-send-timeout", "proxy-connect-timeout":
			settings = append(settings, strings.ReplaceAll(key, "-", "_")+" "+v+"s;")
		case "ssl-redirect", "force-ssl-redirect":
		default:
			log.Printf("ingress %s/%s: the annotation %s means nothing here", m.Namespace, m.Name, name)
		}
	}
	return settings, rewrite
}

func keys(m map[string]string) func(func(string) bool) {
	return func(yield func(string) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

// routes reads the HTTPRoutes that a Gateway of the class nginx takes.
func (c *configuration) routes(ctx context.Context) error {
	var gateways struct{ Items []gateway }
	if err := c.api.get(ctx, "/apis/gateway.networking.k8s.io/v1/gateways", &gateways); err != nil {
		return err
	}
	var list struct{ Items []httpRoute }
	if err := c.api.get(ctx, "/apis/gateway.networking.k8s.io/v1/httproutes", &list); err != nil {
		return err
	}
	for _, r := range list.Items {
		for _, p := range r.Spec.ParentRefs {
			namespace := p.Namespace
			if namespace == "" {
				namespace = r.Metadata.Namespace
			}
			for _, g := range gateways.Items {
				if g.Metadata.Name != p.Name || g.Metadata.Namespace != namespace || g.Spec.GatewayClassName != "nginx" {
					continue
				}
				if err := c.route(ctx, r, g); err != nil {
					log.Printf("httproute %s/%s: %v", r.Metadata.Namespace, r.Metadata.Name, err)
				}
			}
		}
	}
	return nil
}

func (c *configuration) route(ctx context.Context, r httpRoute, g gateway) error {
	path := ""
	for _, l := range g.Spec.Listeners {
		if l.TLS == nil || len(l.TLS.CertificateRefs) == 0 {
			continue
		}
		var err error
		if path, err = c.certificate(ctx, g.Metadata.Namespace, l.TLS.CertificateRefs[0].Name); err != nil {
			log.Printf("gateway %s/%s: %v", g.Metadata.Namespace, g.Metadata.Name, err)
		}
	}
	for _, host := range r.Spec.Hostnames {
		s := c.server(host)
		if s.certificate == "" {
			s.certificate = path
		}
		for _, rule := range r.Spec.Rules {
			if len(rule.BackendRefs) == 0 {
				continue
			}
			b := rule.BackendRefs[0]
			target, err := c.target(ctx, r.Metadata.Namespace, b.Name, b.Port, "")
			if err != nil {
				return err
			}
			l := location{target: target}
			if len(rule.Matches) == 0 {
				s.locations["/"] = l
			}
			for _, m := range rule.Matches {
				at := "/"
				if m.Path != nil {
					at, l.exact = m.Path.Value, m.Path.Type == "Exact"
				}
				s.locations[at] = l
			}
		}
	}
	return nil
}

// render writes nginx.conf.
func (c *configuration) render() []byte {
	var b bytes.Buffer
	f := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	f("worker_processes 1;\npid %s/nginx.pid;\nevents { worker_connections 1024; }", folder)
	f("http {")
	f("  access_log /dev/stdout;")
	f("  server_names_hash_bucket_size 128;")
	for _, kind := range []string{"client_body", "proxy", "fastcgi", "uwsgi", "scgi"} {
		f("  %s_temp_path %s/%s;", kind, folder, kind)
	}
	f("  map $http_upgrade $connection_upgrade { default upgrade; '' ''; }")
	f("  server { listen 8080 default_server; return 404; }")
	hosts := make([]string, 0, len(c.servers))
	for h := range c.servers {
		hosts = append(hosts, h)
	}
	slices.Sort(hosts)
	for _, h := range hosts {
		s := c.servers[h]
		name := h
		if name == "" {
			name = "_"
		}
		if s.redirect {
			f("  server { listen 8080; server_name %s; return 308 https://$host$request_uri; }", name)
		} else {
			f("  server { listen 8080; server_name %s;", name)
			s.render(f)
		}
		if s.certificate != "" {
			f("  server { listen 8443 ssl; server_name %s;", name)
			f("    ssl_certificate %s.crt;\n    ssl_certificate_key %s.key;", s.certificate, s.certificate)
			s.render(f)
		}
	}
	f("}")
	return b.Bytes()
}

func (s *server) render(f func(string, ...any)) {
	paths := make([]string, 0, len(s.locations))
	for p := range s.locations {
		paths = append(paths, p)
	}
	slices.Sort(paths)
	for _, p := range paths {
		l := s.locations[p]
		match := ""
		if l.exact {
			match = "= "
		}
		f("    location %s%s {", match, p)
		for _, line := range l.settings {
			f("      %s", line)
		}
		f("      proxy_pass http://%s;", l.target)
		f("      proxy_http_version 1.1;")
		f("      proxy_set_header Host $host;\n      proxy_set_header X-Forwarded-For $remote_addr;\n      proxy_set_header X-Forwarded-Proto $scheme;")
		f("      proxy_set_header Upgrade $http_upgrade;\n      proxy_set_header Connection $connection_upgrade;")
		f("    }")
	}
	f("  }")
}
