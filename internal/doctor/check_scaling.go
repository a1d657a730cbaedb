package doctor

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// hpaAndVPA looks for two autoscalers of one resource.
func (e *examination) hpaAndVPA() {
	for _, v := range e.of("VerticalPodAutoscaler") {
		mode := text(at(v.m, "spec", "updatePolicy", "updateMode"))
		if mode == "Off" {
			continue
		}
		if mode == "" {
			mode = "Auto, the default"
		}
		for _, h := range e.of("HorizontalPodAutoscaler") {
			a, b := at(v.m, "spec", "targetRef"), at(h.m, "spec", "scaleTargetRef")
			if v.Namespace() != h.Namespace() || text(at(a, "kind")) != text(at(b, "kind")) || text(at(a, "name")) != text(at(b, "name")) {
				continue
			}
			if used := hpaResources(h); len(used) > 0 {
				e.add(Error, v.where("spec.updatePolicy.updateMode"), fmt.Sprintf("it is %s, and %s scales the same pods on %s", mode, h.Name(), strings.Join(used, " and ")), "updatePolicy: {updateMode: \"Off\"}   # recommends only: kubectl describe vpa")
			}
		}
	}
}

// hpaResources are cpu and memory, where an autoscaler counts by them.
func hpaResources(h *Object) []string {
	var out []string
	for _, m := range list(at(h.m, "spec", "metrics")) {
		for _, kind := range []string{"resource", "containerResource"} {
			if n := text(at(m, kind, "name")); n == "cpu" || n == "memory" {
				out = append(out, n)
			}
		}
	}
	if at(h.m, "spec", "targetCPUUtilizationPercentage") != nil {
		out = append(out, "cpu")
	}
	return unique(out)
}

// podAmount is what a pod takes of a resource of a quota: of its containers
// together, or of the largest that initialises it.
func (w *workload) podAmount(objects []*Object, resource string) (total float64, complete bool) {
	if resource == "pods" || resource == "count/pods" {
		return 1, true
	}
	kind, name, found := strings.Cut(resource, ".")
	if !found {
		kind, name = "requests", resource
	}
	complete = true
	largest := 0.0
	for _, c := range w.containers(objects) {
		v, ok := c.resource(kind, name)
		complete = complete && ok
		if c.init && text(c.m["restartPolicy"]) != "Always" {
			largest = max(largest, v)
			continue
		}
		total += v
	}
	return max(total, largest), complete
}

// quotaResources are those that pods use up.
var quotaResources = []string{"requests.cpu", "cpu", "requests.memory", "memory", "limits.cpu", "limits.memory", "requests.ephemeral-storage", "ephemeral-storage", "limits.ephemeral-storage", "pods", "count/pods"}

// mustBeGiven is how many of quotaResources, the first ones, a pod must ask for
// where a quota counts them: those of CPU and memory. What a pod does not say of
// ephemeral storage counts as nothing.
const mustBeGiven = 6

// surge is how many pods a rollout adds.
func surge(w *workload) int {
	if w.Kind() != "Deployment" || text(at(w.m, "spec", "strategy", "type")) == "Recreate" {
		return 0
	}
	v := at(w.m, "spec", "strategy", "rollingUpdate", "maxSurge")
	if v == nil {
		v = "25%"
	}
	return percent(v, w.replicas)
}

// percent reads a number, or a percentage of n rounded up.
func percent(v any, n int) int {
	if p, ok := strings.CutSuffix(text(v), "%"); ok {
		f, _ := strconv.ParseFloat(p, 64)
		return int(math.Ceil(f * float64(n) / 100))
	}
	return number(v, 0)
}

// quota adds up what the workloads of a namespace take at their largest.
func (e *examination) quota() {
	for _, q := range e.of("ResourceQuota") {
		for _, r := range quotaResources {
			hard, ok := quantity(at(q.m, "spec", "hard", r))
			if !ok {
				continue
			}
			for _, w := range e.workloads {
				if w.Namespace() != q.Namespace() || w.Kind() == "Job" || w.Kind() == "CronJob" {
					continue
				}
				e.quotaOf(q, r, hard, w)
			}
		}
	}
}

// quotaOf holds one workload, beside the others, against one line of a quota.
func (e *examination) quotaOf(q *Object, r string, hard float64, w *workload) {
	each, _ := w.podAmount(e.Objects, r)
	if each <= 0 {
		return
	}
	others := 0.0
	for _, o := range e.workloads {
		if o != w && o.Namespace() == w.Namespace() && (o.Kind() == "Deployment" || o.Kind() == "StatefulSet" || o.Kind() == "DaemonSet") {
			a, _ := o.podAmount(e.Objects, r)
			others += a * float64(o.replicas)
		}
	}
	fit := int(math.Floor((hard-others)/each + 1e-9))
	most, by := w.replicas, "replicas"
	for _, h := range e.of("HorizontalPodAutoscaler") {
		if e.target(h, at(h.m, "spec", "scaleTargetRef")) == w {
			most, by = number(at(h.m, "spec", "maxReplicas"), most), h.Name()+" maxReplicas"
		}
	}
	w2 := *w
	w2.replicas = most
	extra := surge(&w2)
	if most+extra <= fit {
		return
	}
	what := fmt.Sprintf("%s is %s, a pod of %s takes %s: %s fit, and %s is %d", r, amount(r, hard), w.Name(), amount(r, each), plural(fit, "pod"), by, most)
	if extra > 0 {
		what += fmt.Sprintf(" with maxSurge %d in a rollout", extra)
	}
	severity := Error
	if most <= fit {
		severity = Warning
		if percent(at(w.m, "spec", "strategy", "rollingUpdate", "maxUnavailable"), most) > 0 {
			severity = Note // The rollout makes room for itself.
		}
	}
	e.add(severity, q.where("spec.hard", r), what, fmt.Sprintf("%s: %q   # or maxReplicas: %d", r, amount(r, others+each*float64(most+extra)), max(fit-extra, 0)))
}

// quotaRequests looks for pods that a quota refuses.
func (e *examination) quotaRequests() {
	for _, q := range e.of("ResourceQuota") {
		var defaulted []string
		for _, l := range e.of("LimitRange") {
			if l.Namespace() != q.Namespace() {
				continue
			}
			for _, x := range list(at(l.m, "spec", "limits")) {
				for key, kind := range map[string]string{"default": "limits", "defaultRequest": "requests"} {
					for name := range mapping(at(x, key)) {
						defaulted = append(defaulted, kind+"."+name)
						if kind == "limits" {
							defaulted = append(defaulted, "requests."+name) // A request defaults to the limit.
						}
					}
				}
			}
		}
		for _, w := range e.workloads {
			if w.Namespace() != q.Namespace() {
				continue
			}
			for _, c := range w.containers(e.Objects) {
				var lacks []string
				for _, r := range quotaResources[:mustBeGiven] {
					kind, name, found := strings.Cut(r, ".")
					if !found {
						kind, name = "requests", r
					}
					if _, ok := c.resource(kind, name); at(q.m, "spec", "hard", r) != nil && !ok && !slices.Contains(defaulted, kind+"."+name) {
						lacks = append(lacks, kind+"."+name)
					}
				}
				if len(lacks) > 0 {
					e.add(Error, c.where("resources"), fmt.Sprintf("%s asks for %s, which it does not give", q.Name(), strings.Join(unique(lacks), ", ")), "resources: {requests: {cpu: 50m, memory: 64Mi}, limits: {cpu: 100m, memory: 64Mi}}")
				}
			}
		}
	}
}

var goMemory = onDemand(`^[0-9]+(B|KiB|MiB|GiB|TiB)?$`)

// memoryLimit holds the memory of the Go runtime against that of the container.
func (e *examination) memoryLimit() {
	for _, c := range e.servers() {
		limit, limited := c.resource("limits", "memory")
		where := c.where("env", "GOMEMLIMIT")
		mend := "- {name: GOMEMLIMIT, value: 900MiB}   # about 90 % of limits.memory"
		if limited {
			mend = fmt.Sprintf("- {name: GOMEMLIMIT, value: %dMiB}   # 90 %% of limits.memory", int(limit*0.9)>>20)
		}
		v, set := c.env["GOMEMLIMIT"]
		switch {
		case set && v != "off" && !goMemory().MatchString(v):
			e.add(Error, where, fmt.Sprintf("%q is no size that the Go runtime reads: the program ends at once", v), mend)
		case set && limited && goBytes(v) > limit*0.97:
			e.add(Warning, where, fmt.Sprintf("%s is all of the limit of %s, and the heap is not all that a process has", v, amount("memory", limit)), mend)
		case limited && !c.has("GOMEMLIMIT"):
			// The server keeps to 90 % of the limit by itself.
			for _, h := range e.of("HorizontalPodAutoscaler") {
				if e.target(h, at(h.m, "spec", "scaleTargetRef")) == c.w && slices.Contains(hpaResources(h), "memory") {
					e.add(Warning, where, "limits.memory is "+amount("memory", limit)+" and GOMEMLIMIT is not set, while "+h.Name()+
						" scales on memory, which up to 90 % of the limit is mostly garbage not yet collected", mend)
				}
			}
		}
	}
}

// goBytes reads a size as the Go runtime does.
func goBytes(s string) float64 {
	n, _ := quantity(strings.TrimSuffix(s, "B"))
	return n
}

// drain holds the time that a pod is given to stop against what it needs.
func (e *examination) drain() {
	for _, c := range e.servers() {
		if k := c.w.Kind(); k == "Pod" {
			continue
		}
		sleep := time.Duration(number(at(c.m, "lifecycle", "preStop", "sleep", "seconds"), 0)) * time.Second
		delay, timeout := e.lasts(c, "server.drain_delay"), e.lasts(c, "server.drain_timeout")
		if sleep+delay < time.Second && at(c.m, "lifecycle", "preStop") == nil {
			e.add(Error, c.where("env", "CARLA_RL_DRAIN_DELAY"), "the server closes its port as soon as it is told to stop, while Services still send to it: a rollout loses requests", "- {name: CARLA_RL_DRAIN_DELAY, value: 5s}")
		}
		if sleep > 0 {
			e.add(Note, c.where("lifecycle", "preStop"), "preStop.sleep needs Kubernetes 1.30", "- {name: CARLA_RL_DRAIN_DELAY, value: 5s}   # does the same anywhere")
		}
		grace := time.Duration(number(c.w.spec["terminationGracePeriodSeconds"], 30)) * time.Second
		if need := sleep + timeout; grace < need+time.Second {
			e.add(Warning, c.w.where(c.w.path, "terminationGracePeriodSeconds"), fmt.Sprintf("it is %s, and the server may take %s to stop (server.drain_timeout): it can be killed with requests unanswered", grace, need), fmt.Sprintf("terminationGracePeriodSeconds: %d", int((need+15*time.Second)/time.Second)))
		}
		if timeout > 0 && timeout <= delay {
			e.add(Error, c.where("env", "CARLA_RL_DRAIN_TIMEOUT"), fmt.Sprintf("the whole stop may take %s, and server.drain_delay alone is %s", timeout, delay), fmt.Sprintf("- {name: CARLA_RL_DRAIN_TIMEOUT, value: %s}", delay+30*time.Second))
		}
	}
}

// ephemeralStorage looks at what log files may take.
func (e *examination) ephemeralStorage() {
	for _, c := range e.servers() {
		file, _ := e.setting(c, "monitoring.log_file")
		if file == "" {
			continue
		}
		size, _ := e.setting(c, "monitoring.log_file_max_size")
		count, _ := e.setting(c, "monitoring.log_file_max_count")
		n, _ := strconv.Atoi(count)
		most := goBytes(size) * float64(n+1)
		limit, what := math.Inf(1), ""
		if v, ok := c.resource("limits", "ephemeral-storage"); ok {
			limit, what = v, "limits.ephemeral-storage"
		}
		for _, m := range c.mounts() {
			if v, ok := quantity(at(m.volume, "emptyDir", "sizeLimit")); ok && v < limit && strings.HasPrefix(file, m.path+"/") {
				limit, what = v, "the size limit of volume "+text(m.volume["name"])
			}
		}
		if most > limit {
			e.add(Warning, c.where("env", "LOG_FILE"), fmt.Sprintf("log files may take %s, and %s is %s", amount("memory", most), what, amount("memory", limit)), "- {name: CARLA_RL_LOG_FILE_MAX_SIZE, value: 10MiB}   # or no LOG_FILE: kubectl logs reads the standard output")
		}
	}
}
