package deploy_test

import (
	"math/big"
	"strings"
	"testing"
)

// suffixes of Kubernetes quantities, in units.
var suffixes = []struct {
	suffix string
	factor *big.Rat
}{
	{"Ki", big.NewRat(1<<10, 1)}, {"Mi", big.NewRat(1<<20, 1)}, {"Gi", big.NewRat(1<<30, 1)}, {"Ti", big.NewRat(1<<40, 1)},
	{"m", big.NewRat(1, 1000)}, {"k", big.NewRat(1000, 1)}, {"M", big.NewRat(1e6, 1)}, {"G", big.NewRat(1e9, 1)},
}

// quantity reads "500m" of CPU or "4Gi" of memory, in cores or bytes.
func quantity(t *testing.T, text string) *big.Rat {
	t.Helper()
	factor := big.NewRat(1, 1)
	for _, s := range suffixes {
		if digits, found := strings.CutSuffix(text, s.suffix); found {
			text, factor = digits, s.factor
			break
		}
	}
	n, ok := new(big.Rat).SetString(text)
	if !ok {
		t.Fatalf("%q is no quantity", text)
	}
	return n.Mul(n, factor)
}

// TestQuotaLeavesRoomForTheAutoscaler does the arithmetic: at the most replicas,
// a rollout with its surge fits under the quota, and one pod more for whoever
// looks into it. With less a rollout at full size would wait for ever.
func TestQuotaLeavesRoomForTheAutoscaler(t *testing.T) {
	hpa := one(t, "hpa.yaml", "HorizontalPodAutoscaler", "model-serving-hpa")
	d := one(t, "production-deployment.yaml", "Deployment", "model-serving")
	quota := one(t, "namespace.yaml", "ResourceQuota", "carla-rl-serving-quota")
	most, _ := hpa.get("spec", "maxReplicas").(int)
	least, _ := hpa.get("spec", "minReplicas").(int)
	surge, _ := d.get("spec", "strategy", "rollingUpdate", "maxSurge").(int)
	if most != 10 || least != 2 || surge != 1 {
		t.Fatalf("replicas from %d to %d, surge %d", least, most, surge)
	}
	pods := big.NewRat(int64(most+surge+1), 1)
	for _, side := range []string{"requests", "limits"} {
		for _, resource := range []string{"cpu", "memory"} {
			each := quantity(t, container(t, d).text("resources", side, resource))
			need := new(big.Rat).Mul(each, pods)
			hard := quantity(t, quota.text("spec", "hard", side+"."+resource))
			if hard.Cmp(need) < 0 {
				t.Errorf("%s.%s: the quota is %s, %s pods need %s", side, resource, hard.RatString(), pods.RatString(), need.RatString())
			}
		}
	}
}

// TestMemoryLimitOfTheCollector holds GOMEMLIMIT below what the autoscaler reacts
// to in production, and below the limit in the quick start: garbage alone neither
// calls for pods nor ends one.
func TestMemoryLimitOfTheCollector(t *testing.T) {
	bytes := func(c object) *big.Rat { return quantity(t, strings.TrimSuffix(env(c, "GOMEMLIMIT"), "B")) }

	c := container(t, one(t, "production-deployment.yaml", "Deployment", "model-serving"))
	for _, m := range one(t, "hpa.yaml", "HorizontalPodAutoscaler", "model-serving-hpa").list("spec", "metrics") {
		if m.text("resource", "name") != "memory" {
			continue
		}
		percent, _ := m.get("resource", "target", "averageUtilization").(int)
		target := new(big.Rat).Mul(quantity(t, c.text("resources", "requests", "memory")), big.NewRat(int64(percent), 100))
		if percent == 0 || bytes(c).Cmp(target) >= 0 {
			t.Errorf("GOMEMLIMIT is %s, the autoscaler reacts to %s", env(c, "GOMEMLIMIT"), target.FloatString(0))
		}
	}

	c = container(t, one(t, "deployment.yaml", "Deployment", "model-serving"))
	limit := new(big.Rat).Mul(quantity(t, c.text("resources", "limits", "memory")), big.NewRat(9, 10))
	if bytes(c).Cmp(limit) > 0 {
		t.Errorf("GOMEMLIMIT is %s of a limit of %s", env(c, "GOMEMLIMIT"), c.text("resources", "limits", "memory"))
	}
}

// TestOneAutoscalerDecides holds the vertical one to recommendations, since both
// look at the same resources.
func TestOneAutoscalerDecides(t *testing.T) {
	if mode := one(t, "vpa.yaml", "VerticalPodAutoscaler", "model-serving-vpa").text("spec", "updatePolicy", "updateMode"); mode != "Off" {
		t.Errorf("the vertical autoscaler's mode is %q", mode)
	}
}
