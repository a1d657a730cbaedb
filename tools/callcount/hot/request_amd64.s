//go:build linux

#include "textflag.h"

// func request(args *[6]uintptr, otherwise uintptr) uintptr
//
// The four rotations add up to 128 bits, so that they change nothing on a
// processor; valgrind, which translates the code, takes them with the exchange
// that follows for a client request: the address of its arguments in AX, the
// answer in DX.
TEXT ·request(SB), NOSPLIT, $0-24
	MOVQ args+0(FP), AX
	MOVQ otherwise+8(FP), DX
	ROLQ $3, DI
	ROLQ $13, DI
	ROLQ $61, DI
	ROLQ $51, DI
	XCHGQ BX, BX
	MOVQ DX, ret+16(FP)
	RET
