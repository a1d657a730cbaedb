package doctor

import (
	"slices"
	"strings"
)

// overTime are the functions that keep the labels of each series.
var overTime = []string{"rate", "irate", "increase", "delta", "idelta", "deriv"}

var (
	quoted    = onDemand(`"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'`)
	grouping  = onDemand(`\b(by|without|on|ignoring|group_left|group_right)\s*\([^()]*\)`)
	matcherOf = onDemand(`([a-zA-Z_:][a-zA-Z0-9_:]*)\s*\{([^{}]*)\}`)
	label     = onDemand(`([a-zA-Z_][a-zA-Z0-9_]*)\s*(=~|!~|!=|=)\s*("(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')`)
	word      = onDemand(`[a-zA-Z_:][a-zA-Z0-9_:]*`)
	braces    = onDemand(`\{[^{}]*\}|\[[^\[\]]*\]`)
	perSeries = onDemand(`histogram_quantile\s*\(\s*[^,()]+,\s*(rate|irate|increase)\s*\(\s*([a-zA-Z_:][a-zA-Z0-9_:]*)`)
	threshold = onDemand(`\)\s*(?:>=|>|<=|<)\s*([0-9.eE+-]+)\s*$`)
)

// metricNames returns the names of the metrics of an expression.
func metricNames(expr string) []string {
	s := quoted().ReplaceAllString(expr, `""`)
	s = braces().ReplaceAllString(s, " ")
	s = grouping().ReplaceAllString(s, " ")
	var names []string
	for _, at := range word().FindAllStringIndex(s, -1) {
		rest := strings.TrimLeft(s[at[1]:], " \n\t")
		name := s[at[0]:at[1]]
		if at[0] > 0 && strings.ContainsRune("0123456789.$", rune(s[at[0]-1])) || strings.HasPrefix(rest, "(") {
			continue
		}
		if strings.ContainsAny(name, "_:") && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}

// labelMatch is one condition of a selector.
type labelMatch struct{ metric, label, op, value string }

// labelMatches returns the conditions of the selectors of an expression.
func labelMatches(expr string) []labelMatch {
	var out []labelMatch
	for _, m := range matcherOf().FindAllStringSubmatch(expr, -1) {
		for _, l := range label().FindAllStringSubmatch(m[2], -1) {
			out = append(out, labelMatch{m[1], l[1], l[2], strings.Trim(l[3], `"'`)})
		}
	}
	return out
}

// dividesPerSeries reports whether an expression divides a rate by a rate
// without adding the series up first, so that each is divided by itself.
func dividesPerSeries(expr string) bool {
	s := quoted().ReplaceAllStringFunc(expr, func(q string) string { return strings.Repeat("_", len(q)) })
	s = braces().ReplaceAllStringFunc(s, func(q string) string { return strings.Repeat(" ", len(q)) })
	for i := range len(s) {
		if s[i] != '/' {
			continue
		}
		right := strings.TrimLeft(s[i+1:], " \n\t(")
		name := word().FindString(right)
		if !strings.HasPrefix(right, name) || !slices.Contains(overTime, name) {
			continue
		}
		if slices.Contains(overTime, callBefore(s[:i])) {
			return true
		}
	}
	return false
}

// callBefore returns the function whose call ends the text: sum for both
// "sum(x)" and "sum(x) by (y)". Parentheses around a call are looked through.
func callBefore(s string) string {
	for {
		s = strings.TrimRight(s, " \n\t")
		if !strings.HasSuffix(s, ")") {
			return ""
		}
		depth, i := 0, len(s)-1
		for ; i >= 0; i-- {
			if s[i] == ')' {
				depth++
			}
			if s[i] == '(' {
				if depth--; depth == 0 {
					break
				}
			}
		}
		if i < 0 {
			return ""
		}
		inner, before := s[i+1:len(s)-1], strings.TrimRight(s[:i], " \n\t")
		name := ""
		if at := word().FindAllStringIndex(before, -1); len(at) > 0 && at[len(at)-1][1] == len(before) {
			name = before[at[len(at)-1][0]:]
		}
		switch name {
		case "by", "without", "on", "ignoring":
			s = strings.TrimSuffix(before, name)
		case "":
			s = inner
		default:
			return name
		}
	}
}
