//go:build e2e

package e2e_test

import (
	"fmt"
	"testing"
)

// zeroLoss changes the pods of production under a constant load: no request
// may fail. The last part takes the drain away, and some must: without it the
// counts above would prove nothing.
func zeroLoss(t *testing.T) {
	const rate = 200 // requests a second

	// K1: a new pod template each time, under the same load.
	t.Run("rolling update, five times", func(t *testing.T) {
		l := productionLoad(t, rate)
		for i := range 5 {
			kubectl(t, "-n", production, "set", "env", "deployment/model-serving", fmt.Sprint("TEST_ROUND=", i))
			took := rolledOut(t, production, "model-serving")
			gone(t, 3)
			t.Logf("rollout %d in %.1f s: %v", i+1, took.Seconds(), l.so())
		}
		l.lossless(t)
	})
	t.Run("rollback", func(t *testing.T) {
		l := productionLoad(t, rate)
		kubectl(t, "-n", production, "rollout", "undo", "deployment/model-serving")
		rolledOut(t, production, "model-serving")
		gone(t, 3)
		l.lossless(t)
	})
	t.Run("kubectl delete pod", func(t *testing.T) {
		l := productionLoad(t, rate)
		for range 2 {
			p := readyPods(t, production, "app=model-serving", 3)[0]
			kubectl(t, "-n", production, "delete", "pod", p.Metadata.Name)
		}
		gone(t, 3)
		l.lossless(t)
	})
	t.Run("eviction under the budget", func(t *testing.T) {
		l := productionLoad(t, rate)
		all := readyPods(t, production, "app=model-serving", 3)
		waitFor(t, "the budget allows one", budgetAllowsOne)
		if err := evict(all[0].Metadata.Name); err != nil {
			t.Fatal(err)
		}
		// The second is refused until the first has a ready successor.
		if err := evict(all[1].Metadata.Name); err == nil {
			t.Errorf("the budget let two pods go at once")
		}
		gone(t, 3)
		l.lossless(t)
	})
	t.Run("without the drain requests are lost", func(t *testing.T) {
		defer resetProduction(t, 3)
		kubectl(t, "-n", production, "set", "env", "deployment/model-serving", "CARLA_RL_DRAIN_DELAY=0s", "CARLA_RL_DRAIN_ACCEPT=1ms")
		rolledOut(t, production, "model-serving")
		gone(t, 3)
		l := productionLoad(t, rate)
		for round := 0; round < 5 && l.so().failed == 0; round++ {
			kubectl(t, "-n", production, "set", "env", "deployment/model-serving", fmt.Sprint("TEST_ROUND=control", round))
			rolledOut(t, production, "model-serving")
			gone(t, 3)
		}
		r := l.stop()
		t.Log(r)
		if r.failed == 0 {
			t.Errorf("%d requests, none failed: the load does not see what a missing drain breaks", r.requests)
		}
	})
}

// gone waits until n ready pods are there and those before them have ended.
func gone(t *testing.T, n int) {
	t.Helper()
	readyPods(t, production, "app=model-serving", n)
}

// evict asks for the eviction of a pod of production, as kubectl drain does.
func evict(name string) error {
	_, err := run(`{"apiVersion":"policy/v1","kind":"Eviction","metadata":{"name":"`+name+`","namespace":"`+production+`"}}`,
		"kubectl", "create", "--raw", "/api/v1/namespaces/"+production+"/pods/"+name+"/eviction", "-f", "-")
	return err
}
