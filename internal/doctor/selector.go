package doctor

import "slices"

// matches reports whether a label selector in the form of apps/v1 (matchLabels
// and matchExpressions) selects the labels. An empty selector selects all, one
// that is absent nothing.
func matches(selector any, labels map[string]string) bool {
	m := mapping(selector)
	if m == nil {
		return false
	}
	for k, v := range words(m["matchLabels"]) {
		if labels[k] != v {
			return false
		}
	}
	for _, x := range list(m["matchExpressions"]) {
		value, has := labels[text(at(x, "key"))]
		in := has && slices.Contains(texts(at(x, "values")), value)
		var ok bool
		switch text(at(x, "operator")) {
		case "In":
			ok = in
		case "NotIn":
			ok = !in
		case "Exists":
			ok = has
		case "DoesNotExist":
			ok = !has
		}
		if !ok {
			return false
		}
	}
	return true
}

// matchesService reports whether the plain selector of a Service selects the
// labels. An empty one selects nothing.
func matchesService(selector any, labels map[string]string) bool {
	want := words(selector)
	for k, v := range want {
		if labels[k] != v {
			return false
		}
	}
	return len(want) > 0
}
