package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// gemv: y[j] = act(b[j] + Σ_k x[k]·w[panel(j)][k][j mod 16]), one FMA a term,
// k ascending, one accumulator an output.
//
// Registers: 4 panels of 16 are 8 accumulators, which hides an FMA latency of
// 4 at 2 a cycle; 1 for the broadcast input, 1 zero. Weights are memory
// operands: 9 loads for 8 FMAs a step, bound by the load ports.
func gemv() {
	TEXT("gemvAVX2", NOSPLIT, "func(y, x, w, b []float32, panelStride, stepStride int, relu bool)")
	Pragma("noescape")
	Doc("gemvAVX2 is gemvGeneric. The strides are in bytes; len(y) > 0 is the number",
		"of outputs, len(x) the number of inputs; b holds whole panels.")

	y := Load(Param("y").Base(), GP64())
	n := Load(Param("y").Len(), GP64())
	w := Load(Param("w").Base(), GP64())
	b := Load(Param("b").Base(), GP64())
	ps := Load(Param("panelStride"), GP64())
	ks := Load(Param("stepStride"), GP64())
	x, end, wk, wk3 := GP64(), GP64(), GP64(), GP64()
	rest, p := GP64(), GP64()

	block := func(name string, panels int) []reg.VecVirtual {
		acc := vecs(2 * panels)
		Load(Param("x").Base(), x)
		Load(Param("x").Len(), end)
		LEAQ(Mem{Base: x, Index: end, Scale: 4}, end)
		for i := range acc {
			VMOVUPS(Mem{Base: b, Disp: 32 * i}, acc[i])
		}
		MOVQ(w, wk)
		if panels == 4 {
			LEAQ(Mem{Base: w, Index: ps, Scale: 2}, wk3)
			ADDQ(ps, wk3)
		}
		CMPQ(x, end)
		JEQ(LabelRef(name + "done"))
		Label(name + "loop")
		bc := YMM()
		VBROADCASTSS(Mem{Base: x}, bc)
		at := []Mem{
			{Base: wk},
			{Base: wk, Index: ps, Scale: 1},
			{Base: wk, Index: ps, Scale: 2},
			{Base: wk3},
		}
		for i := range acc {
			VFMADD231PS(at[i/2].Offset(32*(i%2)), bc, acc[i])
		}
		ADDQ(ks, wk)
		if panels == 4 {
			ADDQ(ks, wk3)
		}
		ADDQ(Imm(4), x)
		CMPQ(x, end)
		JNE(LabelRef(name + "loop"))
		Label(name + "done")
		relu(name, acc)
		return acc
	}

	Label("wide")
	CMPQ(n, Imm(64))
	JLT(LabelRef("narrow"))
	acc := block("w4", 4)
	for i := range acc {
		VMOVUPS(acc[i], Mem{Base: y, Disp: 32 * i})
	}
	ADDQ(U32(256), y)
	ADDQ(U32(256), b)
	// In either packing 64 outputs take 256 bytes an input.
	Load(Param("x").Len(), end)
	SHLQ(Imm(8), end)
	ADDQ(end, w)
	SUBQ(Imm(64), n)
	JMP(LabelRef("wide"))

	Label("narrow")
	for panels := 4; panels >= 1; panels-- {
		name := label("n%d", panels)
		Label(name)
		CMPQ(n, Imm(uint64(16*(panels-1))))
		if panels > 1 {
			JLE(LabelRef(label("n%d", panels-1)))
		} else {
			JLE(LabelRef("end"))
		}
		acc := block(name, panels)
		for i := range 2 * (panels - 1) {
			VMOVUPS(acc[i], Mem{Base: y, Disp: 32 * i})
		}
		if panels > 1 {
			SUBQ(Imm(uint64(16*(panels-1))), n)
		}
		storePanel(name+"s", Mem{Base: y, Disp: 64 * (panels - 1)}, acc[2*panels-2], acc[2*panels-1], n, rest, p)
		VZEROUPPER()
		RET()
	}
	Label("end")
	VZEROUPPER()
	RET()
}

// relu raises the accumulators to zero where the argument asks for it. MAXPS
// gives its second source where either is NaN: the accumulator must be that.
func relu(name string, acc []reg.VecVirtual) {
	on := GP8()
	Load(Param("relu"), on)
	TESTB(on, on)
	JZ(LabelRef(name + "linear"))
	zero := YMM()
	VXORPS(zero, zero, zero)
	for i := range acc {
		VMAXPS(acc[i], zero, acc[i])
	}
	Label(name + "linear")
}

// gemm: the sum of gemv for many rows and one panel of n <= 16 outputs. Rows
// go in tiles of 6, then of 5, then of 4.
//
// Registers: 6 rows of 16 are 12 accumulators, 2 for a step's weights, 2 for
// broadcasts: 8 loads and 12 FMAs a step, bound by FMA.
func gemm() {
	TEXT("gemmAVX2", NOSPLIT, "func(y []float32, ldy int, x []float32, ldx int, w, b []float32, stepStride, k, n, tiles6, tiles5, tiles4 int, relu bool)")
	Pragma("noescape")
	Doc("gemmAVX2 is gemmGeneric for one panel. ldy, ldx and stepStride are in bytes;",
		"k is the number of inputs and n the number of outputs, both positive.")

	y := Load(Param("y").Base(), GP64())
	ldy := Load(Param("ldy"), GP64())
	x := Load(Param("x").Base(), GP64())
	ldx := Load(Param("ldx"), GP64())
	b := Load(Param("b").Base(), GP64())
	ks := Load(Param("stepStride"), GP64())
	n := Load(Param("n"), GP64())
	tiles, w, k, xk, xk3, p, rest := GP64(), GP64(), GP64(), GP64(), GP64(), GP64(), GP64()

	for _, rows := range []int{6, 5, 4} {
		name := label("r%d", rows)
		Load(Param(label("tiles%d", rows)), tiles)
		Label(name)
		SUBQ(Imm(1), tiles)
		JLT(LabelRef(name + "none"))

		acc := vecs(2 * rows)
		VMOVUPS(Mem{Base: b}, acc[0])
		VMOVUPS(Mem{Base: b, Disp: 32}, acc[1])
		for i := 2; i < len(acc); i++ {
			VMOVAPS(acc[i%2], acc[i])
		}
		Load(Param("w").Base(), w)
		Load(Param("k"), k)
		MOVQ(x, xk)
		LEAQ(Mem{Base: x, Index: ldx, Scale: 2}, xk3)
		ADDQ(ldx, xk3)
		Label(name + "loop")
		w0, w1 := YMM(), YMM()
		VMOVUPS(Mem{Base: w}, w0)
		VMOVUPS(Mem{Base: w, Disp: 32}, w1)
		for r := range rows {
			at := Mem{Base: xk}
			if r >= 3 {
				at.Base = xk3
			}
			if r%3 > 0 {
				at.Index, at.Scale = ldx, uint8(r%3)
			}
			bc := YMM()
			VBROADCASTSS(at, bc)
			VFMADD231PS(w0, bc, acc[2*r])
			VFMADD231PS(w1, bc, acc[2*r+1])
		}
		ADDQ(ks, w)
		ADDQ(Imm(4), xk)
		ADDQ(Imm(4), xk3)
		SUBQ(Imm(1), k)
		JNE(LabelRef(name + "loop"))

		relu(name, acc)
		for r := range rows {
			storePanel(label("%ss%d", name, r), Mem{Base: y}, acc[2*r], acc[2*r+1], n, rest, p)
			ADDQ(ldy, y)
		}
		LEAQ(Mem{Base: x, Index: ldx, Scale: 4}, x)
		if rows > 4 {
			ADDQ(ldx, x)
		}
		if rows > 5 {
			ADDQ(ldx, x)
		}
		JMP(LabelRef(name))
		Label(name + "none")
	}
	VZEROUPPER()
	RET()
}

// dot: y[r][j] = act(b[j] + x[r]·w[j]) for four outputs at once, with sixteen
// partial sums an output: lane l takes the terms k = l mod 16. They are added
// as ((l0+l8)+(l1+l9)) + ((l2+l10)+(l3+l11)), the upper four likewise, and
// then the two halves.
//
// Registers: 8 accumulators, 2 for the inputs, 2 for the mask of the last
// inputs, which are never read beyond their end.
func dot() {
	mask := tailMask()
	TEXT("dotAVX2", NOSPLIT, "func(y []float32, ldy int, x []float32, ldx int, w, b []float32, k, n, rows int, relu bool)")
	Pragma("noescape")
	Doc("dotAVX2 is dotGeneric for one group of n <= 4 outputs. ldy and ldx are in",
		"bytes; w holds steps of 16 inputs for each of 4 outputs, padded with zeros.")

	y := Load(Param("y").Base(), GP64())
	ldy := Load(Param("ldy"), GP64())
	x := Load(Param("x").Base(), GP64())
	ldx := Load(Param("ldx"), GP64())
	b := Load(Param("b").Base(), GP64())
	n := Load(Param("n"), GP64())
	rows := Load(Param("rows"), GP64())
	w, k, xk, p := GP64(), GP64(), GP64(), GP64()

	// The masks of the last 1..15 inputs: max(0, 8-rest) lanes off below,
	// 8-max(0, rest-8) above.
	m0, m1 := YMM(), YMM()
	{
		rest, lo, hi, zero, table := GP64(), GP64(), GP64(), GP64(), GP64()
		Load(Param("k"), rest)
		ANDQ(Imm(15), rest)
		XORQ(zero, zero)
		MOVQ(U32(8), lo)
		SUBQ(rest, lo)
		CMOVQLT(zero, lo)
		SUBQ(Imm(8), rest)
		CMOVQLT(zero, rest)
		MOVQ(U32(8), hi)
		SUBQ(rest, hi)
		LEAQ(mask, table)
		VMOVUPS(Mem{Base: table, Index: lo, Scale: 4}, m0)
		VMOVUPS(Mem{Base: table, Index: hi, Scale: 4}, m1)
	}

	Label("row")
	acc := vecs(8)
	for i := range acc {
		VXORPS(acc[i], acc[i], acc[i])
	}
	Load(Param("w").Base(), w)
	Load(Param("k"), k)
	MOVQ(x, xk)
	step := func(x0, x1 reg.VecVirtual) {
		for o := range 4 {
			VFMADD231PS(Mem{Base: w, Disp: 64 * o}, x0, acc[2*o])
			VFMADD231PS(Mem{Base: w, Disp: 64*o + 32}, x1, acc[2*o+1])
		}
	}
	Label("step")
	SUBQ(Imm(16), k)
	JLT(LabelRef("last"))
	x0, x1 := YMM(), YMM()
	VMOVUPS(Mem{Base: xk}, x0)
	VMOVUPS(Mem{Base: xk, Disp: 32}, x1)
	step(x0, x1)
	ADDQ(U32(256), w)
	ADDQ(Imm(64), xk)
	JMP(LabelRef("step"))
	Label("last")
	ADDQ(Imm(16), k)
	JZ(LabelRef("reduce"))
	VMASKMOVPS(Mem{Base: xk}, m0, x0)
	VMASKMOVPS(Mem{Base: xk, Disp: 32}, m1, x1)
	step(x0, x1)
	Label("reduce")
	for o := range 4 {
		VADDPS(acc[2*o+1], acc[2*o], acc[2*o])
	}
	VHADDPS(acc[2], acc[0], acc[0])
	VHADDPS(acc[6], acc[4], acc[4])
	VHADDPS(acc[4], acc[0], acc[0])
	VEXTRACTF128(Imm(1), acc[0], acc[1].AsX())
	VADDPS(acc[1].AsX(), acc[0].AsX(), acc[0].AsX())
	VADDPS(Mem{Base: b}, acc[0].AsX(), acc[0].AsX())
	relu("dot", acc[:1])
	CMPQ(n, Imm(4))
	JNE(LabelRef("part"))
	VMOVUPS(acc[0].AsX(), Mem{Base: y})
	JMP(LabelRef("next"))
	Label("part")
	storeTail("t", Mem{Base: y}, acc[0], n, p)
	Label("next")
	ADDQ(ldy, y)
	ADDQ(ldx, x)
	SUBQ(Imm(1), rows)
	JNE(LabelRef("row"))
	VZEROUPPER()
	RET()
}
