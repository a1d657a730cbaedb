package doctor

import (
	"math"
	"strconv"
	"strings"
)

// suffixes of a quantity; the longer ones are tried first.
var suffixes = []struct {
	text   string
	factor float64
}{
	{"Ki", 1 << 10}, {"Mi", 1 << 20}, {"Gi", 1 << 30}, {"Ti", 1 << 40}, {"Pi", 1 << 50},
	{"n", 1e-9}, {"u", 1e-6}, {"m", 1e-3}, {"k", 1e3}, {"M", 1e6}, {"G", 1e9}, {"T", 1e12}, {"P", 1e15},
}

// quantity reads an amount of Kubernetes such as 500m or 4Gi, in cores, bytes
// or things.
func quantity(v any) (float64, bool) {
	s, factor := strings.TrimSpace(text(v)), 1.0
	for _, f := range suffixes {
		if rest, ok := strings.CutSuffix(s, f.text); ok {
			s, factor = rest, f.factor
			break
		}
	}
	n, err := strconv.ParseFloat(s, 64)
	if err != nil || math.IsNaN(n) || math.IsInf(n, 0) {
		return 0, false
	}
	return n * factor, true
}

// amount writes a quantity of a resource.
func amount(resource string, n float64) string {
	if !strings.Contains(resource, "memory") && !strings.Contains(resource, "storage") {
		return strconv.FormatFloat(math.Round(n*1000)/1000, 'g', -1, 64)
	}
	for _, f := range []struct {
		text string
		size float64
	}{{"Gi", 1 << 30}, {"Mi", 1 << 20}, {"Ki", 1 << 10}} {
		if n >= f.size {
			return strconv.FormatFloat(math.Round(n/f.size*100)/100, 'g', -1, 64) + f.text
		}
	}
	return strconv.FormatFloat(n, 'g', -1, 64)
}
