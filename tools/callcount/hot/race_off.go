//go:build !race

package hot

const raced = false
