package doctor

import (
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// defaultConfig is the file that a server reads where CONFIG_FILE names none.
const defaultConfig = "/app/config/config.yaml"

// file returns the text that a container has at a path, where a ConfigMap of
// the stream is mounted there, and the ConfigMap with its key.
func (c *container) file(path string) (data string, from *Object, key string) {
	for _, m := range c.mounts() {
		rest, under := strings.CutPrefix(path, m.path+"/")
		if m.subPath != "" && path == m.path {
			rest, under = m.subPath, true
		}
		o := c.find("ConfigMap", text(at(m.volume, "configMap", "name")))
		if !under || o == nil {
			continue
		}
		key = rest
		for _, item := range list(at(m.volume, "configMap", "items")) {
			if text(at(item, "path")) == rest {
				key = text(at(item, "key"))
			}
		}
		if v, ok := mapping(o.m["data"])[key]; ok {
			return text(v), o, key
		}
	}
	return "", nil, ""
}

// configFile returns the configuration file of a container, where it is known.
func (c *container) configFile() (data string, from *Object, key string) {
	path := c.env["CONFIG_FILE"]
	if path == "" {
		path = defaultConfig
	}
	return c.file(path)
}

// setting returns a setting that a container has: from its environment, its
// configuration file, or the default. given tells whether anything set it.
func (e *examination) setting(c *container, key string) (value string, given bool) {
	for _, s := range e.Server.Settings {
		if s.Key != key {
			continue
		}
		if v, ok := c.env[s.Env]; ok && v != "" {
			return v, true
		}
		data, _, _ := c.configFile()
		var doc any
		if yaml.Unmarshal([]byte(data), &doc) == nil {
			section, name, _ := strings.Cut(key, ".")
			if v := at(doc, section, name); v != nil {
				if l := texts(v); l != nil {
					return strings.Join(l, ","), true
				}
				return text(v), true
			}
		}
		return s.Default, false
	}
	return "", false
}

// lasts returns a setting that is a time.
func (e *examination) lasts(c *container, key string) time.Duration {
	v, _ := e.setting(c, key)
	d, err := time.ParseDuration(v)
	if err != nil {
		return 0
	}
	return d
}

// port returns the port that a server listens on, and that of its metrics; 0
// where there are none.
func (e *examination) ports(c *container) (server, metrics int) {
	v, _ := e.setting(c, "server.port")
	server, _ = strconv.Atoi(v)
	if v, _ = e.setting(c, "monitoring.enable_metrics"); v == "false" || v == "0" {
		return server, 0
	}
	v, _ = e.setting(c, "monitoring.metrics_port")
	if metrics, _ = strconv.Atoi(v); metrics == 0 {
		metrics = server
	}
	return server, metrics
}

// portOf resolves a port of a probe or a Service: a number, or the name of a
// port of the container.
func (c *container) portOf(v any) (int, bool) {
	if n := number(v, 0); n > 0 {
		return n, true
	}
	name := text(v)
	for _, p := range list(c.m["ports"]) {
		if text(at(p, "name")) == name {
			return number(at(p, "containerPort"), 0), true
		}
	}
	n, err := strconv.Atoi(name)
	return n, err == nil
}
