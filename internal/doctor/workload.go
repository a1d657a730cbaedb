package doctor

import (
	"maps"
	"slices"
	"strings"
)

// workload is an object that makes pods.
type workload struct {
	*Object
	path        string // of the pod's spec, in the object
	spec        map[string]any
	labels      map[string]string // of the pod
	annotations map[string]string // of the pod
	replicas    int
}

// container is one container of a pod.
type container struct {
	w       *workload
	m       map[string]any
	path    string // in the object
	init    bool
	name    string
	image   string
	env     map[string]string // those with a value of their own, references resolved
	refs    map[string]any    // valueFrom by variable, of those that are not
	objects []*Object
}

// templates are where the kinds keep the template of their pods.
var templates = map[string][]string{
	"Deployment":  {"spec", "template"},
	"StatefulSet": {"spec", "template"},
	"DaemonSet":   {"spec", "template"},
	"ReplicaSet":  {"spec", "template"},
	"Job":         {"spec", "template"},
	"CronJob":     {"spec", "jobTemplate", "spec", "template"},
	"Pod":         {},
}

// workloads finds the objects that make pods.
func workloads(objects []*Object) []*workload {
	var out []*workload
	for _, o := range objects {
		keys, ok := templates[o.Kind()]
		if !ok {
			continue
		}
		t := at(o.m, keys...)
		spec := mapping(at(t, "spec"))
		if spec == nil {
			continue
		}
		w := &workload{
			Object: o, spec: spec, path: strings.Join(append(slices.Clone(keys), "spec"), "."),
			labels: words(at(t, "metadata", "labels")), annotations: words(at(t, "metadata", "annotations")),
			replicas: number(at(o.m, "spec", "replicas"), 1),
		}
		switch o.Kind() {
		case "Job":
			w.replicas = number(at(o.m, "spec", "parallelism"), 1)
		case "CronJob", "Pod", "DaemonSet":
			w.replicas = 1
		}
		out = append(out, w)
	}
	return out
}

// containers returns the containers of a pod, those that initialise it first.
func (w *workload) containers(objects []*Object) []*container {
	var out []*container
	for _, key := range []string{"initContainers", "containers"} {
		for _, v := range list(w.spec[key]) {
			m := mapping(v)
			c := &container{w: w, m: m, init: key == "initContainers", name: text(m["name"]), image: text(m["image"]), env: map[string]string{}, refs: map[string]any{}, objects: objects}
			c.path = w.path + "." + key + "[" + c.name + "]"
			c.environment()
			out = append(out, c)
		}
	}
	return out
}

// environment reads env and envFrom, later ones stronger.
func (c *container) environment() {
	for _, v := range list(c.m["envFrom"]) {
		prefix := text(at(v, "prefix"))
		if o := c.find("ConfigMap", text(at(v, "configMapRef", "name"))); o != nil {
			for k, x := range words(o.m["data"]) {
				c.env[prefix+k] = x
			}
		}
		if o := c.find("Secret", text(at(v, "secretRef", "name"))); o != nil {
			for k := range secretKeys(o) {
				c.refs[prefix+k] = map[string]any{"secretKeyRef": map[string]any{"name": o.Name(), "key": k}}
			}
		}
	}
	for _, v := range list(c.m["env"]) {
		name := text(at(v, "name"))
		from := at(v, "valueFrom")
		if from == nil {
			c.env[name] = text(at(v, "value"))
			delete(c.refs, name)
			continue
		}
		o := c.find("ConfigMap", text(at(from, "configMapKeyRef", "name")))
		if o != nil {
			c.env[name] = text(at(o.m, "data", text(at(from, "configMapKeyRef", "key"))))
			continue
		}
		delete(c.env, name)
		c.refs[name] = from
	}
}

// has reports whether the container has the variable, whatever its value.
func (c *container) has(name string) bool {
	_, value := c.env[name]
	_, ref := c.refs[name]
	return value || ref
}

// environ is the environment as the container would have it, as far as it is
// known.
func (c *container) environ() []string {
	var out []string
	for _, k := range slices.Sorted(maps.Keys(c.env)) {
		out = append(out, k+"="+c.env[k])
	}
	return out
}

// where names the container, and a place in it.
func (c *container) where(path ...string) string {
	return c.w.where(append([]string{c.path}, path...)...)
}

// find returns the object of a kind in the namespace of the pod.
func (c *container) find(kind, name string) *Object {
	if name == "" {
		return nil
	}
	for _, o := range c.objects {
		if o.Kind() == kind && o.Name() == name && o.Namespace() == c.w.Namespace() {
			return o
		}
	}
	return nil
}

// mount is a volume in a container.
type mount struct {
	path     string // in the container
	subPath  string
	readOnly bool
	volume   map[string]any
}

// mounts returns the volumes of the container.
func (c *container) mounts() []mount {
	var out []mount
	for _, v := range list(c.m["volumeMounts"]) {
		m := mount{path: strings.TrimRight(text(at(v, "mountPath")), "/"), subPath: text(at(v, "subPath")), readOnly: at(v, "readOnly") == true}
		for _, vol := range list(c.w.spec["volumes"]) {
			if text(at(vol, "name")) == text(at(v, "name")) {
				m.volume = mapping(vol)
			}
		}
		out = append(out, m)
	}
	return out
}

// resource returns the request or the limit of a container.
func (c *container) resource(kind, name string) (float64, bool) {
	v := at(c.m, "resources", kind, name)
	if v == nil && kind == "requests" { // as the API server defaults it
		v = at(c.m, "resources", "limits", name)
	}
	return quantity(v)
}

// imageParts splits an image into its last name and its tag; a digest is
// returned as the tag.
func imageParts(image string) (name, tag string) {
	ref, digest, pinned := strings.Cut(image, "@")
	name = ref[strings.LastIndex(ref, "/")+1:]
	name, tag, _ = strings.Cut(name, ":")
	if pinned {
		tag = digest
	}
	return name, tag
}

// serves reports whether the container runs this server: its image is one of
// ours, and what it runs is serve.
func (c *container) serves() bool {
	name, _ := imageParts(c.image)
	if c.init || !strings.HasPrefix(name, "carla-rl") && c.env["ARTIFACT_DIR"] == "" {
		return false
	}
	switch c.w.Kind() {
	case "Job", "CronJob":
		return false
	}
	args := append(texts(c.m["command"]), texts(c.m["args"])...)
	if len(args) > 0 && strings.HasSuffix(args[0], "carla-rl") {
		args = args[1:]
	}
	return len(args) == 0 || !slices.Contains(tools, args[0])
}

// tools are the subcommands that serve nothing.
var tools = []string{"predict", "inspect", "verify", "diff", "convert", "check", "doctor", "version", "completion"}

// servers returns the containers that run this server.
func (e *examination) servers() []*container {
	var out []*container
	for _, w := range e.workloads {
		for _, c := range w.containers(e.Objects) {
			if c.serves() {
				out = append(out, c)
			}
		}
	}
	return out
}

// of returns the objects of the kinds.
func (e *examination) of(kinds ...string) []*Object {
	var out []*Object
	for _, o := range e.Objects {
		if slices.Contains(kinds, o.Kind()) {
			out = append(out, o)
		}
	}
	return out
}

// target returns the workload that an autoscaler scales.
func (e *examination) target(o *Object, ref any) *workload {
	for _, w := range e.workloads {
		if w.Kind() == text(at(ref, "kind")) && w.Name() == text(at(ref, "name")) && w.Namespace() == o.Namespace() {
			return w
		}
	}
	return nil
}

// selected returns the Services that send to a pod.
func (e *examination) selected(w *workload) []*Object {
	var out []*Object
	for _, s := range e.of("Service") {
		if s.Namespace() == w.Namespace() && matchesService(at(s.m, "spec", "selector"), w.labels) {
			out = append(out, s)
		}
	}
	return out
}

// secretKeys returns the keys of a Secret with their values as written.
func secretKeys(o *Object) map[string]string {
	out := words(o.m["data"])
	maps.Copy(out, words(o.m["stringData"]))
	return out
}
