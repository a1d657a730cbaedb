package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// narrow: y[j] = act(b[j] + Σ_k x[k]·w[k][j]) for bf16 weights, and
// act(s[j]·Σ_k x[k]·q[k][j] + b[j]) for int8 weights, which are widened in
// registers on their way to one FMA a term, k ascending.
//
// Weights lie in panels of 64 outputs, the last one of 16, 32, 48 or 64. In
// each group of sixteen bf16 the outputs j and j+8 are the lower and the upper
// half of a double word, so that a shift and a mask widen both.
//
// Registers: 8 accumulators, 1 broadcast, 1 mask, 2 for each pair of weights.
func narrow() {
	mask := splatBits("bf16mask", 0xffff0000)
	narrowGemv("gemvBF16AVX2", "uint16", "len(y) > 0 is the number of outputs; b holds whole groups of 16.", 2, mask)
	narrowGemv("gemvInt8AVX2", "int8", "len(y) > 0 is the number of outputs; s and b hold whole groups of 16.", 1, mask)
	widenBF16(mask)
	widenInt8()
	scaleRows()
}

// widened gives the eight lanes of outputs 0..7 and 8..15 of a group.
func widened(size int, at Mem, mask reg.VecVirtual) (lo, hi reg.VecVirtual) {
	lo, hi = YMM(), YMM()
	if size == 2 {
		VMOVUPS(at, hi)
		VPSLLD(Imm(16), hi, lo)
		VPAND(mask, hi, hi)
		return lo, hi
	}
	VPMOVSXBD(at, lo)
	VPMOVSXBD(at.Offset(8), hi)
	VCVTDQ2PS(lo, lo)
	VCVTDQ2PS(hi, hi)
	return lo, hi
}

func narrowGemv(name, elem, doc string, size int, maskAt Mem) {
	scale := ""
	if size == 1 {
		scale = "s, "
	}
	TEXT(name, NOSPLIT, "func(y, x []float32, w []"+elem+", "+scale+"b []float32, relu bool)")
	Pragma("noescape")
	Doc(name+" is the twin of the loop in narrowGeneric for one row:", doc)

	y := Load(Param("y").Base(), GP64())
	n := Load(Param("y").Len(), GP64())
	w := Load(Param("w").Base(), GP64())
	b := Load(Param("b").Base(), GP64())
	var s reg.Register
	if size == 1 {
		s = Load(Param("s").Base(), GP64())
	}
	x, end, rest, p := GP64(), GP64(), GP64(), GP64()
	mask := YMM()
	if size == 2 {
		VMOVUPS(maskAt, mask)
	}

	block := func(name string, groups int) []reg.VecVirtual {
		acc := vecs(2 * groups)
		Load(Param("x").Base(), x)
		Load(Param("x").Len(), end)
		LEAQ(Mem{Base: x, Index: end, Scale: 4}, end)
		for i := range acc {
			if size == 2 {
				VMOVUPS(Mem{Base: b, Disp: 32 * i}, acc[i])
			} else {
				VXORPS(acc[i], acc[i], acc[i])
			}
		}
		CMPQ(x, end)
		JEQ(LabelRef(name + "done"))
		Label(name + "loop")
		bc := YMM()
		VBROADCASTSS(Mem{Base: x}, bc)
		for g := range groups {
			lo, hi := widened(size, Mem{Base: w, Disp: 16 * size * g}, mask)
			VFMADD231PS(lo, bc, acc[2*g])
			VFMADD231PS(hi, bc, acc[2*g+1])
		}
		ADDQ(U32(uint32(16*size*groups)), w)
		ADDQ(Imm(4), x)
		CMPQ(x, end)
		JNE(LabelRef(name + "loop"))
		Label(name + "done")
		if size == 1 {
			for i := range acc {
				each := YMM()
				VMOVUPS(Mem{Base: s, Disp: 32 * i}, each)
				VFMADD213PS(Mem{Base: b, Disp: 32 * i}, each, acc[i])
			}
		}
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
	if size == 1 {
		ADDQ(U32(256), s)
	}
	SUBQ(Imm(64), n)
	JMP(LabelRef("wide"))

	Label("narrow")
	for groups := 4; groups >= 1; groups-- {
		name := label("n%d", groups)
		Label(name)
		CMPQ(n, Imm(uint64(16*(groups-1))))
		if groups > 1 {
			JLE(LabelRef(label("n%d", groups-1)))
		} else {
			JLE(LabelRef("end"))
		}
		acc := block(name, groups)
		for i := range 2 * (groups - 1) {
			VMOVUPS(acc[i], Mem{Base: y, Disp: 32 * i})
		}
		if groups > 1 {
			SUBQ(Imm(uint64(16*(groups-1))), n)
		}
		storePanel(name+"s", Mem{Base: y, Disp: 64 * (groups - 1)}, acc[2*groups-2], acc[2*groups-1], n, rest, p)
		VZEROUPPER()
		RET()
	}
	Label("end")
	VZEROUPPER()
	RET()
}

// widenLoop writes a panel of float32 of one group of a panel, step by step.
func widenLoop(name, elem string, size int, maskAt Mem) {
	TEXT(name, NOSPLIT, "func(panel []float32, w []"+elem+", stride int)")
	Pragma("noescape")
	Doc(name+" fills a panel of 16 outputs, one input after the other, from the", "groups of w that are stride bytes apart.")
	p := Load(Param("panel").Base(), GP64())
	n := Load(Param("panel").Len(), GP64())
	w := Load(Param("w").Base(), GP64())
	stride := Load(Param("stride"), GP64())
	mask := YMM()
	if size == 2 {
		VMOVUPS(maskAt, mask)
	}
	SHRQ(Imm(4), n)
	JEQ(LabelRef("end"))
	Label("loop")
	lo, hi := widened(size, Mem{Base: w}, mask)
	VMOVUPS(lo, Mem{Base: p})
	VMOVUPS(hi, Mem{Base: p, Disp: 32})
	ADDQ(stride, w)
	ADDQ(Imm(64), p)
	SUBQ(Imm(1), n)
	JNE(LabelRef("loop"))
	Label("end")
	VZEROUPPER()
	RET()
}

func widenBF16(mask Mem) { widenLoop("widenBF16AVX2", "uint16", 2, mask) }

func widenInt8() { widenLoop("widenInt8AVX2", "int8", 1, Mem{}) }

// scaleRows: y[r][j] = act(s[j]·y[r][j] + b[j]), one FMA each.
func scaleRows() {
	TEXT("scaleRowsAVX2", NOSPLIT, "func(y []float32, ldy, n, rows int, s, b []float32, relu bool)")
	Pragma("noescape")
	Doc("scaleRowsAVX2 is scaleRowsGeneric for n <= 16 columns. ldy is in bytes; s and", "b hold 16.")
	y := Load(Param("y").Base(), GP64())
	ldy := Load(Param("ldy"), GP64())
	n := Load(Param("n"), GP64())
	rows := Load(Param("rows"), GP64())
	sp := Load(Param("s").Base(), GP64())
	bp := Load(Param("b").Base(), GP64())
	s0, s1, b0, b1 := YMM(), YMM(), YMM(), YMM()
	VMOVUPS(Mem{Base: sp}, s0)
	VMOVUPS(Mem{Base: sp, Disp: 32}, s1)
	VMOVUPS(Mem{Base: bp}, b0)
	VMOVUPS(Mem{Base: bp, Disp: 32}, b1)
	p, end := GP64(), GP64()
	TESTQ(rows, rows)
	JZ(LabelRef("end"))
	CMPQ(n, Imm(16))
	JNE(LabelRef("part"))
	Label("whole")
	acc := vecs(2)
	VMOVUPS(Mem{Base: y}, acc[0])
	VMOVUPS(Mem{Base: y, Disp: 32}, acc[1])
	VFMADD213PS(b0, s0, acc[0])
	VFMADD213PS(b1, s1, acc[1])
	relu("w", acc)
	VMOVUPS(acc[0], Mem{Base: y})
	VMOVUPS(acc[1], Mem{Base: y, Disp: 32})
	ADDQ(ldy, y)
	SUBQ(Imm(1), rows)
	JNE(LabelRef("whole"))
	JMP(LabelRef("end"))

	// The last outputs go one at a time.
	Label("part")
	MOVQ(y, p)
	LEAQ(Mem{Base: y, Index: n, Scale: 4}, end)
	sq, bq := GP64(), GP64()
	MOVQ(sp, sq)
	MOVQ(bp, bq)
	Label("each")
	one := YMM()
	VMOVSS(Mem{Base: p}, one.AsX())
	each := YMM()
	VMOVSS(Mem{Base: sq}, each.AsX())
	VFMADD213SS(Mem{Base: bq}, each.AsX(), one.AsX())
	relu("p", []reg.VecVirtual{one})
	VMOVSS(one.AsX(), Mem{Base: p})
	ADDQ(Imm(4), p)
	ADDQ(Imm(4), sq)
	ADDQ(Imm(4), bq)
	CMPQ(p, end)
	JNE(LabelRef("each"))
	ADDQ(ldy, y)
	SUBQ(Imm(1), rows)
	JNE(LabelRef("part"))
	Label("end")
	VZEROUPPER()
	RET()
}
