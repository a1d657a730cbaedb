//go:build !noasm

package kernel

import (
	"math"
	"unsafe"

	"golang.org/x/sys/cpu"
)

const vectorName = "avx2"

// hasVector also tells that the operating system saves the registers.
var hasVector = cpu.X86.HasAVX2 && cpu.X86.HasFMA

// hasWide asks for what the kernels of AVX-512 use together: every processor
// with AVX-512 but the first has it.
var hasWide = hasVector && cpu.X86.HasAVX512F && cpu.X86.HasAVX512DQ && cpu.X86.HasAVX512BW && cpu.X86.HasAVX512VL && cpu.X86.HasBMI2

func gemvVector(y, x, w, b []float32, panelStride, stepStride int, relu bool) {
	gemvAVX2(y, x, w, b, 4*panelStride, 4*stepStride, relu)
}

// gemmStrides tells that gemmVector takes weights whose steps are not panels.
const gemmStrides = true

func gemmVector(y []float32, ldy int, x []float32, ldx int, w, b []float32, step, k, n int, t tiles, relu bool) {
	gemmAVX2(y, 4*ldy, x, 4*ldx, w, b, 4*step, k, n, t.of6, t.of5, t.of4, relu)
}

func dotVector(y []float32, ldy int, x []float32, ldx int, w, b []float32, k, n, rows int, relu bool) {
	dotAVX2(y, 4*ldy, x, 4*ldx, w, b, k, n, rows, relu)
}

// hasChain tells that chainVector is there.
const hasChain = true

func chainVector(y, x, room []float32, ops []chainOp) {
	// The generator knows no type of this package.
	chainAVX2(&y[0], &x[0], &room[0], (*uint64)(unsafe.Pointer(&ops[0])), len(ops))
}

func gemmWide(y []float32, ldy int, x []float32, ldx int, w, b []float32, panel, k, n, height, tiles int, relu bool) {
	gemmAVX512(y, 4*ldy, x, 4*ldx, w, b, 4*panel, k, n, height, tiles, relu)
}

func convTileWide(y, x []float32, at, table []int32, w, b []float32, panel int, relu bool) {
	convTileAVX512(y, x, at, table, w, b, 4*panel, relu)
}

func spreadVector(y []float32, plane int, tile []float32, ld, positions, outs int) {
	spreadAVX2(y, 4*plane, tile, 4*ld, positions, outs)
}

// gatherFloats is the room for the inputs of a tile, for each of its terms.
const gatherFloats = 0

func convTileVector(y, x []float32, at *[tilePixels]int, table []int32, w, b []float32, relu bool, _ []float32) {
	convTileAVX2(y, x, at, table, w, b, relu)
}

func convPlaneVector(y, x []float32, table []int32, w []float32, b float32, relu bool) {
	convPlaneAVX2(y, x, table, w, b, relu)
}

// moreVector computes the functions that have a vector form here and not on
// other machines.
func moreVector(u Unary, y, x []float32) bool {
	switch u.Op {
	case Sqrt:
		sqrtAVX2(y, x)
	case Rsqrt:
		rsqrtAVX2(y, x)
	case Reciprocal:
		reciprocalAVX2(y, x)
	case Abs:
		absAVX2(y, x)
	case Neg:
		negAVX2(y, x)
	case Round:
		roundAVX2(y, x)
	case Floor:
		floorAVX2(y, x)
	case Ceil:
		ceilAVX2(y, x)
	case Trunc:
		truncAVX2(y, x)
	case LeakyRelu:
		leakyReluAVX2(y, x, u.A)
	case Softsign:
		softsignAVX2(y, x)
	case Hardsigmoid:
		hardsigmoidAVX2(y, x)
	case Hardswish:
		hardswishAVX2(y, x)
	case Erf:
		erfAVX2(y, x)
	case Gelu:
		geluAVX2(y, x)
	case GeluTanh:
		geluTanhAVX2(y, x)
	case Log:
		logAVX2(y, x)
	case Softplus:
		softplusAVX2(y, x, u.A, 1/u.A, u.B)
	case LogSigmoid:
		logSigmoidAVX2(y, x)
	case Mish:
		mishAVX2(y, x)
	case Log1p:
		log1pAVX2(y, x)
	case Atan:
		atanAVX2(y, x)
	case Sin, Cos, Tan:
		angles(u, y, x)
	default:
		return false
	}
	return true
}

// maxAngle is the greatest angle that the vector kernels bring into range
// without loss.
const maxAngle = 8192

// angles computes functions of angles part by part: those beyond maxAngle, and
// what is no angle, by the twin afterwards. x is kept, as y may be x.
func angles(u Unary, y, x []float32) {
	var part [256]float32
	for i := 0; i < len(x); i += len(part) {
		p := part[:copy(part[:], x[i:])]
		out := y[i : i+len(p)]
		switch u.Op {
		case Sin:
			sinAVX2(out, p)
		case Cos:
			cosAVX2(out, p)
		default:
			tanAVX2(out, p)
		}
		for j, v := range p {
			if !(v <= maxAngle && v >= -maxAngle) {
				unaryGeneric(u, out[j:j+1], p[j:j+1])
			}
		}
	}
}

// powVector computes powers part by part: what is not ordinary, by the twin
// afterwards. The operands are kept, as y may be one of them.
func powVector(y, a, b []float32) {
	var pa, pb, out [64]float32
	for i := 0; i < len(a); i += len(pa) {
		n := copy(pa[:], a[i:])
		copy(pb[:n], b[i:])
		whole := (n + 3) &^ 3
		powAVX2(out[:whole], pa[:whole], pb[:whole])
		for j, v := range pa[:n] {
			if u := pb[j]; !(v > 0 && v <= math.MaxFloat32 && u >= -math.MaxFloat32 && u <= math.MaxFloat32) {
				powGeneric(out[j:j+1], pa[j:j+1], pb[j:j+1])
			}
		}
		copy(y[i:i+n], out[:n])
	}
}

func minimumVector(y, a, b []float32)                   { minimumAVX2(y, a, b) }
func maximumVector(y, a, b []float32)                   { maximumAVX2(y, a, b) }
func sumVector(x []float32) float64                     { return sumAVX2(x) }
func amaxVector(x []float32) float32                    { return amaxAVX2(x) }
func aminVector(x []float32) float32                    { return aminAVX2(x) }
func expSubVector(y, x []float32, top float32)          { expSubAVX2(y, x, top) }
func scaleVector(y, x []float32, factor, shift float32) { scaleAVX2(y, x, factor, shift) }

func reluVector(y, x []float32)                        { reluAVX2(y, x) }
func clampVector(y, x []float32, lo, hi float32)       { clampAVX2(y, x, lo, hi) }
func tanhVector(y, x []float32)                        { tanhAVX2(y, x) }
func expVector(y, x []float32)                         { expAVX2(y, x) }
func sigmoidVector(y, x []float32)                     { sigmoidAVX2(y, x) }
func siluVector(y, x []float32)                        { siluAVX2(y, x) }
func eluVector(y, x []float32, scale, neg, in float32) { eluAVX2(y, x, scale, neg, in) }
func addVector(y, a, b []float32)                      { addAVX2(y, a, b) }
func subVector(y, a, b []float32)                      { subAVX2(y, a, b) }
func mulVector(y, a, b []float32)                      { mulAVX2(y, a, b) }
func divVector(y, a, b []float32)                      { divAVX2(y, a, b) }
