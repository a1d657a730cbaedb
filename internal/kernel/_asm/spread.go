package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// spread: y[o·plane+i] = tile[i·ld+o], in squares of eight positions i and
// eight outputs o; the last square of positions begins earlier, so that it is
// whole too.
//
// Registers: eight rows of a square and eight for what becomes of them.
func spread() {
	TEXT("spreadAVX2", NOSPLIT, "func(y []float32, plane int, tile []float32, ld, positions, outs int)")
	Pragma("noescape")
	Doc("spreadAVX2 is spreadGeneric. plane and ld are in bytes; positions is at least 8,",
		"outs is positive, and the rows of tile are whole eights.")
	y := Load(Param("y").Base(), GP64())
	plane := Load(Param("plane"), GP64())
	tile := Load(Param("tile").Base(), GP64())
	ld := Load(Param("ld"), GP64())
	outs := Load(Param("outs"), GP64())
	left, from, to, p, q, step := GP64(), GP64(), GP64(), GP64(), GP64(), GP64()

	Label("group")
	Load(Param("positions"), left)
	MOVQ(tile, from)
	MOVQ(y, to)
	Label("square")
	SUBQ(Imm(8), left)
	JGE(LabelRef("whole"))
	// left is -1 to -7: that many positions earlier.
	MOVQ(left, step)
	IMULQ(ld, step)
	ADDQ(step, from)
	LEAQ(Mem{Base: to, Index: left, Scale: 4}, to)
	XORQ(left, left)
	Label("whole")
	r := vecs(8)
	LEAQ(Mem{Base: ld, Index: ld, Scale: 2}, step)
	LEAQ(Mem{Base: from, Index: ld, Scale: 4}, p)
	MOVQ(from, q)
	for i, base := range []reg.Register{q, p} {
		VMOVUPS(Mem{Base: base}, r[4*i])
		VMOVUPS(Mem{Base: base, Index: ld, Scale: 1}, r[4*i+1])
		VMOVUPS(Mem{Base: base, Index: ld, Scale: 2}, r[4*i+2])
		VMOVUPS(Mem{Base: base, Index: step, Scale: 1}, r[4*i+3])
	}
	t := vecs(8)
	for i := 0; i < 8; i += 2 {
		VUNPCKLPS(r[i+1], r[i], t[i])
		VUNPCKHPS(r[i+1], r[i], t[i+1])
	}
	for i := 0; i < 8; i += 4 {
		VSHUFPS(Imm(0x44), t[i+2], t[i], r[i])
		VSHUFPS(Imm(0xee), t[i+2], t[i], r[i+1])
		VSHUFPS(Imm(0x44), t[i+3], t[i+1], r[i+2])
		VSHUFPS(Imm(0xee), t[i+3], t[i+1], r[i+3])
	}
	for i := range 4 {
		VPERM2F128(Imm(0x20), r[i+4], r[i], t[i])
		VPERM2F128(Imm(0x31), r[i+4], r[i], t[i+4])
	}
	MOVQ(to, p)
	for i := range 8 {
		VMOVUPS(t[i], Mem{Base: p})
		if i < 7 {
			CMPQ(outs, Imm(uint64(i+1)))
			JLE(LabelRef("next"))
			ADDQ(plane, p)
		}
	}
	Label("next")
	LEAQ(Mem{Base: from, Index: ld, Scale: 8}, from)
	ADDQ(Imm(32), to)
	TESTQ(left, left)
	JNE(LabelRef("square"))
	ADDQ(Imm(32), tile)
	LEAQ(Mem{Base: y, Index: plane, Scale: 8}, y)
	SUBQ(Imm(8), outs)
	JG(LabelRef("group"))
	VZEROUPPER()
	RET()
}
