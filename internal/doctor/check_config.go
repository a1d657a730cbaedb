package doctor

import (
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/carla-rl/carla-rl-serving/internal/spelling"
)

// gpu reports whether the container's image has ONNX Runtime.
func (c *container) gpu() bool {
	_, tag := imageParts(c.image)
	return tag == "ort" || strings.HasSuffix(tag, "-ort")
}

const configMend = "carla-rl check config FILE --show lists every setting in force; docs/configuration-reference.md has all keys."

// configFile checks the configuration that was named, and those in ConfigMaps.
func (e *examination) configFile() {
	if e.Config != nil {
		problems, notes := e.Server.CheckConfig(e.Config.Data, nil, false)
		for _, p := range problems {
			e.add(Error, e.Config.Name, p, configMend)
		}
		for _, n := range notes {
			e.add(Note, e.Config.Name, n, configMend)
		}
	}
	read := map[*Object]bool{}
	for _, c := range e.servers() {
		data, from, key := c.configFile()
		if path := c.env["CONFIG_FILE"]; from == nil && path != "" && c.mountsConfigMap(path, e.Objects) {
			e.add(Error, c.where("env", "CONFIG_FILE"), path+" is in no ConfigMap that is mounted there", "- {name: CONFIG_FILE, value: "+defaultConfig+"}")
		}
		if from == nil {
			continue
		}
		read[from] = true
		problems, _ := e.Server.CheckConfig(data, nil, c.gpu())
		for _, p := range problems {
			e.add(Error, from.where("data", key), p, configMend)
		}
	}
	if len(e.servers()) == 0 {
		return
	}
	for _, o := range e.of("ConfigMap") {
		if data, ok := mapping(o.m["data"])["config.yaml"]; ok && !read[o] && e.ofServer(data) {
			e.add(Warning, o.where("data", "config.yaml"), "no server reads it", fmt.Sprintf("volumeMounts: [{name: config, mountPath: /app/config, readOnly: true}]\nvolumes: [{name: config, configMap: {name: %s}}]", o.Name()))
		}
	}
}

// mountsConfigMap reports whether a ConfigMap of the stream is mounted above
// the path, so that its files are known.
func (c *container) mountsConfigMap(path string, objects []*Object) bool {
	for _, m := range c.mounts() {
		if strings.HasPrefix(path, m.path+"/") {
			return c.find("ConfigMap", text(at(m.volume, "configMap", "name"))) != nil
		}
	}
	return false
}

// ofServer reports whether a text looks like a configuration of this server.
func (e *examination) ofServer(data any) bool {
	var doc any
	if yaml.Unmarshal([]byte(text(data)), &doc) != nil {
		return false
	}
	return at(doc, "server") != nil && at(doc, "model") != nil
}

// foreign are prefixes of variables that the Python server's loader knew.
var foreign = []string{"CARLA_RL_", "MODEL_", "SERVER_", "MONITORING_", "SECURITY_", "OPTIMIZATION_"}

// environment checks the variables of servers.
func (e *examination) environment() {
	known := []string{"CONFIG_FILE", "GOMEMLIMIT", "GOMAXPROCS", "GOGC", "GODEBUG"}
	byKey := map[string]string{}
	for _, s := range e.Server.Settings {
		known = append(known, s.Env)
		byKey[s.Key] = s.Env
	}
	for _, c := range e.servers() {
		problems, _ := e.Server.CheckConfig("", c.environ(), c.gpu())
		for _, p := range problems {
			e.add(Error, c.where("env"), p, configMend)
		}
		for _, name := range names(c) {
			if slices.Contains(known, name) || name == "" {
				continue
			}
			section, rest, _ := strings.Cut(strings.ToLower(strings.TrimPrefix(name, "CARLA_RL_")), "_")
			mean := byKey[section+"."+rest]
			if mean == "" {
				for key, env := range byKey {
					if _, last, _ := strings.Cut(key, "."); strings.HasSuffix(strings.ToLower(name), "_"+last) && strings.HasPrefix(key, section+".") {
						mean = env
					}
				}
			}
			if mean == "" && len(name) >= 7 {
				mean = spelling.Nearest(name, known)
			}
			ours := slices.ContainsFunc(foreign, func(p string) bool { return strings.HasPrefix(name, p) })
			switch {
			case mean != "":
				e.add(Warning, c.where("env", name), "no such variable is read; "+mean+" may be meant", "- name: "+mean)
			case ours:
				e.add(Warning, c.where("env", name), "no such variable is read", "docs/configuration-reference.md lists them.")
			}
		}
	}
}

// names returns the variables of a container, sorted.
func names(c *container) []string {
	var out []string
	for k := range c.env {
		out = append(out, k)
	}
	for k := range c.refs {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}

// idleSettings lists settings that do nothing yet.
func (e *examination) idleSettings() {
	for _, c := range e.servers() {
		data, from, key := c.configFile()
		var doc any
		_ = yaml.Unmarshal([]byte(data), &doc)
		for _, s := range e.Server.Settings {
			if !s.Idle {
				continue
			}
			section, name, _ := strings.Cut(s.Key, ".")
			mend := "Leave it out."
			if from != nil && at(doc, section, name) != nil {
				e.add(Note, from.where("data", key), s.Key+" has no effect", mend)
			}
			if c.has(s.Env) {
				e.add(Note, c.where("env", s.Env), s.Env+" has no effect", mend)
			}
		}
	}
}
