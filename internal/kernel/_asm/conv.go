package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// conv generates the kernels of convolutions.
func conv() {
	convTile()
	convPlane()
}

// convTile: y[i][j] = act(b[j] + Σ_k x[at[i]+table[k]]·w[k][j]) for six
// positions i and sixteen outputs j, k ascending, one FMA a term: the sum of
// gemm with inputs that lie anywhere.
//
// Registers: 12 accumulators, 2 for a term's weights, 2 for broadcasts; six
// bases, and one index for the distance that all share.
func convTile() {
	TEXT("convTileAVX2", NOSPLIT, "func(y, x []float32, at *[6]int, table []int32, w, b []float32, relu bool)")
	Pragma("noescape")
	Doc("convTileAVX2 is convTileGeneric. at counts elements; each of at and table",
		"together is an element of x.")

	at := Load(Param("at"), GP64())
	x := Load(Param("x").Base(), GP64())
	base := make([]reg.GPVirtual, 6)
	for i := range base {
		base[i] = GP64()
		MOVQ(Mem{Base: at, Disp: 8 * i}, base[i])
		LEAQ(Mem{Base: x, Index: base[i], Scale: 4}, base[i])
	}
	b := Load(Param("b").Base(), GP64())
	acc := vecs(12)
	VMOVUPS(Mem{Base: b}, acc[0])
	VMOVUPS(Mem{Base: b, Disp: 32}, acc[1])
	for i := 2; i < len(acc); i++ {
		VMOVAPS(acc[i%2], acc[i])
	}
	w := Load(Param("w").Base(), GP64())
	table := Load(Param("table").Base(), GP64())
	end := Load(Param("table").Len(), GP64())
	LEAQ(Mem{Base: table, Index: end, Scale: 4}, end)
	CMPQ(table, end)
	JEQ(LabelRef("done"))
	Label("loop")
	idx := GP64()
	MOVLQSX(Mem{Base: table}, idx)
	w0, w1 := YMM(), YMM()
	VMOVUPS(Mem{Base: w}, w0)
	VMOVUPS(Mem{Base: w, Disp: 32}, w1)
	for i := range base {
		bc := YMM()
		VBROADCASTSS(Mem{Base: base[i], Index: idx, Scale: 4}, bc)
		VFMADD231PS(w0, bc, acc[2*i])
		VFMADD231PS(w1, bc, acc[2*i+1])
	}
	ADDQ(Imm(4), table)
	ADDQ(Imm(64), w)
	CMPQ(table, end)
	JNE(LabelRef("loop"))
	Label("done")
	relu("tile", acc)
	y := Load(Param("y").Base(), GP64())
	for i := range acc {
		VMOVUPS(acc[i], Mem{Base: y, Disp: 32 * i})
	}
	VZEROUPPER()
	RET()
}

// convPlane: y[i] = act(b + Σ_k x[i+table[k]]·w[k]) for all i of y, 64 at a
// time, k ascending, one FMA a term.
//
// Registers: 8 accumulators, 1 for the broadcast weight.
func convPlane() {
	TEXT("convPlaneAVX2", NOSPLIT, "func(y, x []float32, table []int32, w []float32, b float32, relu bool)")
	Pragma("noescape")
	Doc("convPlaneAVX2 is convPlaneGeneric. len(y) is a multiple of 64; each of its",
		"positions and table together is an element of x.")

	y := Load(Param("y").Base(), GP64())
	n := Load(Param("y").Len(), GP64())
	x := Load(Param("x").Base(), GP64())
	end := GP64()
	table, w, idx := GP64(), GP64(), GP64()
	Label("block")
	SUBQ(Imm(64), n)
	JLT(LabelRef("end"))
	acc := vecs(8)
	bias, err := Param("b").Resolve()
	if err != nil {
		panic(err)
	}
	VBROADCASTSS(bias.Addr, acc[0])
	for i := 1; i < len(acc); i++ {
		VMOVAPS(acc[0], acc[i])
	}
	Load(Param("w").Base(), w)
	Load(Param("table").Base(), table)
	Load(Param("table").Len(), end)
	LEAQ(Mem{Base: table, Index: end, Scale: 4}, end)
	CMPQ(table, end)
	JEQ(LabelRef("done"))
	Label("loop")
	MOVLQSX(Mem{Base: table}, idx)
	bc := YMM()
	VBROADCASTSS(Mem{Base: w}, bc)
	for i := range acc {
		VFMADD231PS(Mem{Base: x, Index: idx, Scale: 4, Disp: 32 * i}, bc, acc[i])
	}
	ADDQ(Imm(4), table)
	ADDQ(Imm(4), w)
	CMPQ(table, end)
	JNE(LabelRef("loop"))
	Label("done")
	relu("plane", acc)
	for i := range acc {
		VMOVUPS(acc[i], Mem{Base: y, Disp: 32 * i})
	}
	ADDQ(U32(256), y)
	ADDQ(U32(256), x)
	JMP(LabelRef("block"))
	Label("end")
	VZEROUPPER()
	RET()
}
