package config

import "strings"

// didYouMean returns a suggestion that can be put behind a message, or "".
func didYouMean(s string, known []string) string {
	if near := nearest(s, known); near != "" {
		return ", did you mean " + near + "?"
	}
	return ""
}

// nearest returns the known word that s was most likely meant to be, or "".
func nearest(s string, known []string) string {
	if len(s) > 64 {
		return ""
	}
	s = strings.ToLower(s)
	// About one edit for three letters, but never another word altogether.
	best, bestDistance := "", 1+max(1, min(3, len(s)/3))
	for _, k := range known {
		if d := editDistance(s, strings.ToLower(k)); d < bestDistance {
			best, bestDistance = k, d
		}
	}
	return best
}

// editDistance counts insertions, deletions, replacements and swaps of
// neighbours that turn a into b.
func editDistance(a, b string) int {
	before := make([]int, len(b)+1)
	prev := make([]int, len(b)+1)
	cur := make([]int, len(b)+1)
	for j := range prev {
		prev[j] = j
	}
	for i := 1; i <= len(a); i++ {
		cur[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			cur[j] = min(prev[j]+1, cur[j-1]+1, prev[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				cur[j] = min(cur[j], before[j-2]+1)
			}
		}
		before, prev, cur = prev, cur, before
	}
	return prev[len(b)]
}
