//go:build race

package hot

const raced = true
