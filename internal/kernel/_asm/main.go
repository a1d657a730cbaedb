// Command _asm generates the amd64 assembly of package kernel. It is a module
// of its own, so that the server does not depend on the generator. Run it by
// `go generate` in this directory; the result is committed and must match.
package main

import (
	"flag"
	"log"

	. "github.com/mmcloughlin/avo/build"
)

//go:generate go run . -kernel linear -out ../linear_amd64.s -stubs ../linear_stub_amd64.go -pkg kernel
//go:generate go run . -kernel conv -out ../conv_amd64.s -stubs ../conv_stub_amd64.go -pkg kernel
//go:generate go run . -kernel wide -out ../wide_amd64.s -stubs ../wide_stub_amd64.go -pkg kernel
//go:generate go run . -kernel chain -out ../chain_amd64.s -stubs ../chain_stub_amd64.go -pkg kernel
//go:generate go run . -kernel vector -out ../vector_amd64.s -stubs ../vector_stub_amd64.go -pkg kernel
//go:generate go run . -kernel more -out ../more_amd64.s -stubs ../more_stub_amd64.go -pkg kernel
//go:generate go run . -kernel narrow -out ../narrow_amd64.s -stubs ../narrow_stub_amd64.go -pkg kernel
//go:generate go run . -kernel winograd -out ../winograd_amd64.s -stubs ../winograd_stub_amd64.go -pkg kernel

func main() {
	which := flag.String("kernel", "", "the family to generate: linear, conv, wide, chain, vector, more, narrow or winograd")
	flag.Parse()
	ConstraintExpr("!noasm")
	switch *which {
	case "linear":
		gemv()
		gemm()
		dot()
	case "conv":
		conv()
		spread()
	case "chain":
		chain()
	case "wide":
		wide()
	case "vector":
		vector()
	case "more":
		more()
	case "narrow":
		narrow()
	case "winograd":
		winograd()
	default:
		log.Fatalf("unknown kernel family %q", *which)
	}
	Generate()
}
