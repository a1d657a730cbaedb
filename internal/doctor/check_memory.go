package doctor

import (
	"fmt"
	"math"

	"go.yaml.in/yaml/v3"

	"github.com/carla-rl/carla-rl-serving/internal/artifact"
)

const memoryPinning = "optimization.enable_memory_pinning"

// memoryLock holds the wish for locked memory to what may be locked: on this
// machine to its limit, in a cluster to the fact that no manifest can raise it.
func (e *examination) memoryLock() {
	for _, c := range e.servers() {
		if v, _ := e.setting(c, memoryPinning); v == "true" || v == "1" {
			e.add(Note, c.where("env", "CARLA_RL_ENABLE_MEMORY_PINNING"),
				memoryPinning+" is on, and how much a container may lock (RLIMIT_MEMLOCK) is not said in Kubernetes: it is what the container runtime of the node has",
				"LimitMEMLOCK=infinity in the unit of the container runtime; carla_rl_memory_lock_failures_total stays 0 where the limit is enough.")
		}
	}
	limit := e.Server.LockLimit
	var doc any
	if e.Config == nil || limit <= 0 || limit == math.MaxInt64 || yaml.Unmarshal([]byte(e.Config.Data), &doc) != nil || text(at(doc, "optimization", "enable_memory_pinning")) != "true" {
		return
	}
	var need int64
	for _, s := range e.served() {
		if s.opened == nil {
			continue
		}
		for _, m := range s.opened.Members {
			if m.Role == artifact.RoleModel || m.Role == artifact.RoleModelData || m.Role == artifact.RoleModelMember {
				need += m.Size
			}
		}
	}
	const mend = "LimitMEMLOCK=infinity in a drop-in of the unit, ulimits: {memlock: -1} in Docker Compose, or ulimit -l"
	if need > limit {
		e.add(Warning, e.Config.Name, fmt.Sprintf("%s is on, the model has %d KiB and a process of this user may lock %d KiB on this machine: what is beyond lies in ordinary memory", memoryPinning, need>>10, limit>>10), mend)
		return
	}
	e.add(Note, e.Config.Name, fmt.Sprintf("%s is on, and a process of this user may lock %d KiB on this machine", memoryPinning, limit>>10), mend)
}
