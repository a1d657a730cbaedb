//go:build !amd64 && !arm64

package ceiling

func fmaForms() []fmaForm { return nil }

func readForms() []readForm { return nil }
