//go:build !noasm

#include "textflag.h"
#include "neon_arm64.h"

// Constants of the exponential family, four copies each; they are those of
// the amd64 kernels, so results are the same.
#define QUAD(name, off, v) \
	DATA name<>+(off+0)(SB)/4, $v \
	DATA name<>+(off+4)(SB)/4, $v \
	DATA name<>+(off+8)(SB)/4, $v \
	DATA name<>+(off+12)(SB)/4, $v

QUAD(expconst, 0, 0x3FB8AA3B)   // V16 log2(e)
QUAD(expconst, 16, 0x3F317200)  // V17 ln 2, upper part
QUAD(expconst, 32, 0x35BFBE8E)  // V18 ln 2, lower part
QUAD(expconst, 48, 0x3F000000)  // V19 p0 = 5.000000014e-01
QUAD(expconst, 64, 0x3E2AAAAB)  // V20 p1 = 1.666666668e-01
QUAD(expconst, 80, 0x3D2AAA74)  // V21 p2 = 4.166646420e-02
QUAD(expconst, 96, 0x3C088870)  // V22 p3 = 8.333310845e-03
QUAD(expconst, 112, 0x3AB6A1D8) // V23 p4 = 1.393373072e-03
QUAD(expconst, 128, 0x395092B6) // V24 p5 = 1.989108046e-04
QUAD(expconst, 144, 0x3F800000) // V25 1
QUAD(expconst, 160, 0xC2D00000) // V26 -104, below which exp is 0
QUAD(expconst, 176, 0x42B20000) // V27 89, above which it is infinite
QUAD(expconst, 192, 0xC2200000) // V28 -40, below which expm1 is -1
QUAD(expconst, 208, 0xC0000000) // V29 -2
QUAD(expconst, 224, 0x40000000) // V30 2
QUAD(expconst, 240, 0x80000000) // V31 the sign
GLOBL expconst<>(SB), RODATA|NOPTR, $256

#define LOADCONSTS \
	MOVD $expconst<>(SB), R5 \
	VLD1.P 64(R5), [V16.S4, V17.S4, V18.S4, V19.S4] \
	VLD1.P 64(R5), [V20.S4, V21.S4, V22.S4, V23.S4] \
	VLD1.P 64(R5), [V24.S4, V25.S4, V26.S4, V27.S4] \
	VLD1.P 64(R5), [V28.S4, V29.S4, V30.S4, V31.S4]

// V0 = n·ln2 + r: n goes to V1 as an integer, and V0 becomes
// expm1(r) = r + r²·p(r). V2 and V3 are used.
#define REDUCE \
	FMUL(1, 0, 16) \
	FRINTN(1, 1) \
	VFMLS V17.S4, V1.S4, V0.S4 \
	VFMLS V18.S4, V1.S4, V0.S4 \
	FCVTNS(1, 1) \
	VMOV V23.B16, V2.B16 \
	VFMLA V24.S4, V0.S4, V2.S4 \
	VMOV V22.B16, V3.B16 \
	VFMLA V2.S4, V0.S4, V3.S4 \
	VMOV V21.B16, V2.B16 \
	VFMLA V3.S4, V0.S4, V2.S4 \
	VMOV V20.B16, V3.B16 \
	VFMLA V2.S4, V0.S4, V3.S4 \
	VMOV V19.B16, V2.B16 \
	VFMLA V3.S4, V0.S4, V2.S4 \
	FMUL(2, 2, 0) \
	VFMLA V2.S4, V0.S4, V0.S4

// V0 in [-40, 0] becomes expm1(V0) = 2ⁿ·expm1(r) + (2ⁿ - 1).
#define EXPM1 \
	REDUCE \
	VSHL $23, V1.S4, V1.S4 \
	VADD V25.S4, V1.S4, V1.S4 \
	FMUL(0, 0, 1) \
	FSUB(1, 1, 25) \
	FADD(0, 0, 1)

// V0 becomes exp(V0), 2ⁿ in two halves.
#define EXP \
	FMAX(0, 0, 26) \
	FMIN(0, 0, 27) \
	REDUCE \
	FADD(0, 0, 25) \
	SSHR1(2, 1) \
	VSUB V2.S4, V1.S4, V1.S4 \
	VSHL $23, V2.S4, V2.S4 \
	VADD V25.S4, V2.S4, V2.S4 \
	FMUL(0, 0, 2) \
	VSHL $23, V1.S4, V1.S4 \
	VADD V25.S4, V1.S4, V1.S4 \
	FMUL(0, 0, 1)

// The functions below take lengths that are multiples of four.

#define BINARY \
	MOVD y_base+0(FP), R0 \
	MOVD a_base+24(FP), R1 \
	MOVD a_len+32(FP), R2 \
	MOVD b_base+48(FP), R3 \
	CBZ R2, done

#define UNARY \
	MOVD y_base+0(FP), R0 \
	MOVD x_base+24(FP), R1 \
	MOVD x_len+32(FP), R2 \
	CBZ R2, done

// func reluNEON(y, x []float32)
TEXT ·reluNEON(SB), NOSPLIT, $0-48
	UNARY
	VEOR V1.B16, V1.B16, V1.B16
loop:
	VLD1.P 16(R1), [V0.S4]
	FMAX(0, 0, 1)
	VST1.P [V0.S4], 16(R0)
	SUBS $4, R2, R2
	BNE loop
done:
	RET

// func clampNEON(y, x []float32, lo, hi float32)
TEXT ·clampNEON(SB), NOSPLIT, $0-56
	UNARY
	MOVWU lo+48(FP), R3
	VDUP R3, V1.S4
	MOVWU hi+52(FP), R3
	VDUP R3, V2.S4
loop:
	VLD1.P 16(R1), [V0.S4]
	FMAX(0, 0, 1)
	FMIN(0, 0, 2)
	VST1.P [V0.S4], 16(R0)
	SUBS $4, R2, R2
	BNE loop
done:
	RET

// func tanhNEON(y, x []float32)
//
// With e = expm1(-2|x|), tanh|x| = -e/(e+2), to which x gives its sign.
TEXT ·tanhNEON(SB), NOSPLIT, $0-48
	UNARY
	LOADCONSTS
loop:
	VLD1.P 16(R1), [V4.S4]
	FABS(0, 4)
	FMUL(0, 0, 29)
	FMAX(0, 0, 28)
	EXPM1
	FADD(1, 0, 30)
	FDIV(0, 0, 1)
	VMOV V31.B16, V1.B16
	VBSL V0.B16, V4.B16, V1.B16
	VST1.P [V1.S4], 16(R0)
	SUBS $4, R2, R2
	BNE loop
done:
	RET

// func expNEON(y, x []float32)
TEXT ·expNEON(SB), NOSPLIT, $0-48
	UNARY
	LOADCONSTS
loop:
	VLD1.P 16(R1), [V0.S4]
	EXP
	VST1.P [V0.S4], 16(R0)
	SUBS $4, R2, R2
	BNE loop
done:
	RET

// func sigmoidNEON(y, x []float32)
TEXT ·sigmoidNEON(SB), NOSPLIT, $0-48
	UNARY
	LOADCONSTS
loop:
	VLD1.P 16(R1), [V0.S4]
	FNEG(0, 0)
	EXP
	FADD(0, 0, 25)
	FDIV(0, 25, 0)
	VST1.P [V0.S4], 16(R0)
	SUBS $4, R2, R2
	BNE loop
done:
	RET

// func siluNEON(y, x []float32)
TEXT ·siluNEON(SB), NOSPLIT, $0-48
	UNARY
	LOADCONSTS
loop:
	VLD1.P 16(R1), [V4.S4]
	FNEG(0, 4)
	EXP
	FADD(0, 0, 25)
	FDIV(0, 4, 0)
	VST1.P [V0.S4], 16(R0)
	SUBS $4, R2, R2
	BNE loop
done:
	RET

// func eluNEON(y, x []float32, scale, neg, inner float32)
//
// x > 0 ? scale·x : neg·expm1(inner·x)
TEXT ·eluNEON(SB), NOSPLIT, $0-60
	UNARY
	LOADCONSTS
	MOVWU scale+48(FP), R3
	VDUP R3, V5.S4
	MOVWU neg+52(FP), R3
	VDUP R3, V6.S4
	MOVWU inner+56(FP), R3
	VDUP R3, V7.S4
	VEOR V29.B16, V29.B16, V29.B16
loop:
	VLD1.P 16(R1), [V4.S4]
	FMUL(0, 4, 7)
	FMIN(0, 0, 29)
	FMAX(0, 0, 28)
	EXPM1
	FMUL(0, 0, 6)
	FCMGTZ(1, 4)
	FMUL(2, 4, 5)
	VBSL V0.B16, V2.B16, V1.B16
	VST1.P [V1.S4], 16(R0)
	SUBS $4, R2, R2
	BNE loop
done:
	RET

// func addNEON(y, a, b []float32)
TEXT ·addNEON(SB), NOSPLIT, $0-72
	BINARY
loop:
	VLD1.P 16(R1), [V0.S4]
	VLD1.P 16(R3), [V1.S4]
	FADD(0, 0, 1)
	VST1.P [V0.S4], 16(R0)
	SUBS $4, R2, R2
	BNE loop
done:
	RET

// func subNEON(y, a, b []float32)
TEXT ·subNEON(SB), NOSPLIT, $0-72
	BINARY
loop:
	VLD1.P 16(R1), [V0.S4]
	VLD1.P 16(R3), [V1.S4]
	FSUB(0, 0, 1)
	VST1.P [V0.S4], 16(R0)
	SUBS $4, R2, R2
	BNE loop
done:
	RET

// func mulNEON(y, a, b []float32)
TEXT ·mulNEON(SB), NOSPLIT, $0-72
	BINARY
loop:
	VLD1.P 16(R1), [V0.S4]
	VLD1.P 16(R3), [V1.S4]
	FMUL(0, 0, 1)
	VST1.P [V0.S4], 16(R0)
	SUBS $4, R2, R2
	BNE loop
done:
	RET

// func divNEON(y, a, b []float32)
TEXT ·divNEON(SB), NOSPLIT, $0-72
	BINARY
loop:
	VLD1.P 16(R1), [V0.S4]
	VLD1.P 16(R3), [V1.S4]
	FDIV(0, 0, 1)
	VST1.P [V0.S4], 16(R0)
	SUBS $4, R2, R2
	BNE loop
done:
	RET
