package doctor

import (
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
)

const psaLabel = "pod-security.kubernetes.io/enforce"

// podSecurityPolicy looks for the object that is gone.
func (e *examination) podSecurityPolicy() {
	for _, o := range e.of("PodSecurityPolicy") {
		ns := "carla-rl-serving"
		if l := e.of("Namespace"); len(l) > 0 {
			ns = l[0].Name()
		}
		e.add(Error, o.where(), "no cluster from 1.25 on knows PodSecurityPolicy", fmt.Sprintf("kubectl label namespace %s %s=restricted pod-security.kubernetes.io/warn=restricted", ns, psaLabel))
	}
}

// podSecurity holds pods against the restricted profile.
func (e *examination) podSecurity() {
	enforced := map[string]string{}
	for _, ns := range e.of("Namespace") {
		level := ns.labels()[psaLabel]
		enforced[ns.Name()] = level
		if level == "" && slices.ContainsFunc(e.servers(), func(c *container) bool { return c.w.Namespace() == ns.Name() }) {
			e.add(Warning, ns.where("metadata", "labels"), "the namespace enforces no level of pod security", psaLabel+": restricted")
		}
	}
	for _, w := range e.workloads {
		strict := enforced[w.Namespace()] == "restricted"
		for _, c := range w.containers(e.Objects) {
			lacks := unrestricted(c)
			if len(lacks) == 0 || !strict && !c.serves() {
				continue
			}
			severity := Warning
			if strict {
				severity = Error
			}
			e.add(severity, c.where("securityContext"), "the restricted profile asks for "+strings.Join(lacks, ", "),
				`securityContext: {runAsNonRoot: true, allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}, seccompProfile: {type: RuntimeDefault}, readOnlyRootFilesystem: true}`)
		}
	}
}

// unrestricted lists what the restricted profile asks for and a container does
// not have.
func unrestricted(c *container) []string {
	pod, own := at(c.w.spec, "securityContext"), at(c.m, "securityContext")
	either := func(keys ...string) any {
		if v := at(own, keys...); v != nil {
			return v
		}
		return at(pod, keys...)
	}
	var out []string
	if either("runAsNonRoot") != true {
		out = append(out, "runAsNonRoot: true")
	}
	if at(own, "allowPrivilegeEscalation") != false {
		out = append(out, "allowPrivilegeEscalation: false")
	}
	if !slices.Contains(texts(at(own, "capabilities", "drop")), "ALL") {
		out = append(out, "capabilities.drop: [ALL]")
	}
	if t := text(either("seccompProfile", "type")); t != "RuntimeDefault" && t != "Localhost" {
		out = append(out, "seccompProfile.type: RuntimeDefault")
	}
	if text(either("runAsUser")) == "0" {
		out = append(out, "a runAsUser other than 0")
	}
	if at(own, "privileged") == true {
		out = append(out, "privileged: false")
	}
	return out
}

// rbac looks for rights that the server does not need.
func (e *examination) rbac() {
	for _, c := range e.servers() {
		account := text(c.w.spec["serviceAccountName"])
		if account == "" {
			account = "default"
		}
		for _, b := range e.of("RoleBinding", "ClusterRoleBinding") {
			bound := slices.ContainsFunc(list(at(b.m, "subjects")), func(s any) bool {
				return text(at(s, "kind")) == "ServiceAccount" && text(at(s, "name")) == account && text(at(s, "namespace")) == c.w.Namespace()
			})
			role := e.role(b)
			if !bound || role == nil || len(list(role.m["rules"])) == 0 {
				continue
			}
			severity, what := Warning, "it gives the server rights in the API server"
			for _, r := range list(at(role.m, "rules")) {
				if l := texts(at(r, "resources")); slices.Contains(l, "secrets") || slices.Contains(l, "*") {
					what = "it lets the server read every secret of the namespace, of which it needs none"
					if b.Kind() == "ClusterRoleBinding" {
						severity, what = Error, "it lets the server read every secret of the cluster, of which it needs none"
					}
				}
			}
			e.add(severity, role.where("rules"), what, "rules: []   # or no role and no binding at all")
		}
		automount := c.w.spec["automountServiceAccountToken"]
		if o := c.find("ServiceAccount", account); automount == nil && o != nil {
			automount = o.m["automountServiceAccountToken"]
		}
		if automount != false {
			e.add(Note, c.w.where(c.w.path, "automountServiceAccountToken"), "the pod has a token of the API server, which it does not use", "automountServiceAccountToken: false")
		}
	}
}

// role is the one that a binding names.
func (e *examination) role(b *Object) *Object {
	for _, o := range e.of(text(at(b.m, "roleRef", "kind"))) {
		if o.Name() == text(at(b.m, "roleRef", "name")) && (o.Kind() == "ClusterRole" || o.Namespace() == b.Namespace()) {
			return o
		}
	}
	return nil
}

// secrets looks for keys that nothing consumes, and for placeholders.
func (e *examination) secrets() {
	for _, o := range e.of("Secret") {
		if t := text(o.m["type"]); t != "" && t != "Opaque" {
			continue
		}
		for k, v := range words(o.m["stringData"]) {
			e.knownKey(o, "stringData", k, v)
		}
		for k, v := range words(o.m["data"]) {
			plain, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(v), ""))
			e.knownKey(o, "data", k, string(plain))
			if err != nil {
				e.add(Error, o.where("data", k), "its value is not base64, so that the object is refused", fmt.Sprintf("kubectl create secret generic %s -n %s --from-literal=%s=...   # or stringData in place of data", o.Name(), orDefault(o.Namespace()), k))
			}
		}
		if len(e.servers()) == 0 {
			continue
		}
		used := e.consumed(o)
		for _, k := range sortedKeys(asAny(secretKeys(o))) {
			switch {
			case used[k] || used["*"]:
			case k == "api-key":
				e.add(Error, o.where("data", k), "no pod consumes it: the server asks nobody for a key", fmt.Sprintf("env: [{name: API_KEY_FILE, value: /app/secrets/api-key}]\nvolumeMounts: [{name: secrets, mountPath: /app/secrets, readOnly: true}]\nvolumes: [{name: secrets, secret: {secretName: %s, items: [{key: api-key, path: api-key}]}}]", o.Name()))
			case k == "database-url":
				e.add(Note, o.where("data", k), "no pod consumes it: no experience is recorded", fmt.Sprintf("env: [{name: DATABASE_URL, valueFrom: {secretKeyRef: {name: %s, key: database-url}}}]", o.Name()))
			default:
				e.add(Warning, o.where("data", k), "no pod consumes it", fmt.Sprintf("env: [{name: ..., valueFrom: {secretKeyRef: {name: %s, key: %s}}}]", o.Name(), k))
			}
		}
	}
}

// knownKey looks for the API key of the project's own examples.
func (e *examination) knownKey(o *Object, section, key, value string) {
	if key == "api-key" && strings.HasPrefix(value, "replace-this") {
		e.add(Error, o.where(section, key), "its value is the example's, which everyone knows", fmt.Sprintf("kubectl create secret generic %s -n %s --from-literal=api-key=\"$(openssl rand -hex 32)\"", o.Name(), orDefault(o.Namespace())))
	}
}

func asAny(m map[string]string) map[string]any {
	out := map[string]any{}
	for k, v := range m {
		out[k] = v
	}
	return out
}

// consumed returns the keys of a Secret that pods use; "*" stands for all.
func (e *examination) consumed(o *Object) map[string]bool {
	used := map[string]bool{}
	items := func(name, list2 any) {
		if text(name) != o.Name() {
			return
		}
		if list(list2) == nil {
			used["*"] = true
		}
		for _, i := range list(list2) {
			used[text(at(i, "key"))] = true
		}
	}
	for _, w := range e.workloads {
		if w.Namespace() != o.Namespace() {
			continue
		}
		for _, v := range list(w.spec["volumes"]) {
			if s := at(v, "secret"); s != nil {
				items(at(s, "secretName"), at(s, "items"))
			}
			for _, p := range list(at(v, "projected", "sources")) {
				if s := at(p, "secret"); s != nil {
					items(at(s, "name"), at(s, "items"))
				}
			}
		}
		for _, c := range w.containers(e.Objects) {
			for _, ref := range c.refs {
				if text(at(ref, "secretKeyRef", "name")) == o.Name() {
					used[text(at(ref, "secretKeyRef", "key"))] = true
				}
			}
			for _, f := range list(c.m["envFrom"]) {
				if text(at(f, "secretRef", "name")) == o.Name() {
					used["*"] = true
				}
			}
		}
	}
	return used
}
