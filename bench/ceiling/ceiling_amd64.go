package ceiling

import "golang.org/x/sys/cpu"

//go:noescape
func fmaAVX2(rounds int)

//go:noescape
func fmaAVX512(rounds int)

//go:noescape
func readAVX2(p *byte, n int)

//go:noescape
func readAVX512(p *byte, n int)

//go:noescape
func readAVX2Four(p *byte, n int)

//go:noescape
func readAVX512Four(p *byte, n int)

func fmaForms() []fmaForm {
	var all []fmaForm
	if cpu.X86.HasAVX2 && cpu.X86.HasFMA {
		all = append(all, fmaForm{"AVX2", 12 * 8 * 2, fmaAVX2})
	}
	if cpu.X86.HasAVX512F {
		all = append(all, fmaForm{"AVX-512", 12 * 16 * 2, fmaAVX512})
	}
	return all
}

func readForms() []readForm {
	var all []readForm
	if cpu.X86.HasAVX2 {
		all = append(all, readForm{"AVX2", readStep, readAVX2}, readForm{"AVX2, four streams", 4 * readStep, readAVX2Four})
	}
	if cpu.X86.HasAVX512F {
		all = append(all, readForm{"AVX-512", readStep, readAVX512}, readForm{"AVX-512, four streams", 4 * readStep, readAVX512Four})
	}
	return all
}
