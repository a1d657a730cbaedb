package graph

// Before and after of the passes that are exact, and of fuseBias.

var constantCases = []passCase{
	{"a weight computed of parameters", foldConstants, `graph "g"
%x = input "x" f32[B,2]
%v = const "v" f32[2,2] {3,4,6,8}
%g = const "g" f32[2,1] {5,20}
%two = const "" f32[] {2}
%sq = pow(%v,%two)
%sum = sum(%sq) axes=[1] keepdim=true
%norm = sqrt(%sum)
%ratio = div(%g,%norm)
%w = mul(%v,%ratio)
%y = linear(%x,%w)
output "y" %y
`, `graph "g"
%x = input "x" f32[B,2]
%w = const "" f32[2,2] {3,4,12,16}
%y = linear(%x,%w)
output "y" %y
`, 0},
	{"a cast weight keeps its name and its rounding", foldConstants, `graph "g"
%x = input "x" f32[B,2]
%v = const "fc.weight" f32[1,2] {0.1,0.2}
%h = cast(%v) dtype=bf16
%w = cast(%h) dtype=f32
%y = linear(%x,%w)
output "y" %y
`, `graph "g"
%x = input "x" f32[B,2]
%w = const "fc.weight" f32[1,2] {0.100097656,0.20019531}
%y = linear(%x,%w)
output "y" %y
`, 0},
	{"random draws stay", foldConstants, `graph "g"
%c = const "" f32[2] {0,0}
%y = normal(%c) stream=0
output "y" %y
`, `graph "g"
%c = const "" f32[2] {0,0}
%y = normal(%c) stream=0
output "y" %y
`, 0},
	{"what would grow much stays", foldConstants, `graph "g"
%c = const "" f32[1] {1}
%y = expand(%c) shape=[100,100]
output "y" %y
`, `graph "g"
%c = const "" f32[1] {1}
%y = expand(%c) shape=[100,100]
output "y" %y
`, 0},
}

var noOpCases = []passCase{
	{"reshapes", dropNoOps, `graph "g"
%x = input "x" f32[B,2,3]
%a = reshape(%x) shape=[2B,3]
%b = reshape(%a) shape=[B,6]
%c = reshape(%b) shape=[B,6]
%d = reshape(%c) shape=[B,2,3]
%y = relu(%c)
output "y" %y
output "z" %d
`, `graph "g"
%x = input "x" f32[B,2,3]
%b = reshape(%x) shape=[B,6]
%y = relu(%b)
output "y" %y
output "z" %x
`, 0},
	{"transposes", dropNoOps, `graph "g"
%x = input "x" f32[B,2,3]
%a = transpose(%x) perm=[1,0,2]
%b = transpose(%a) perm=[1,0,2]
%c = transpose(%a) perm=[2,1,0]
output "b" %b
output "c" %c
`, `graph "g"
%x = input "x" f32[B,2,3]
%c = transpose(%x) perm=[2,0,1]
output "b" %x
output "c" %c
`, 0},
	{"casts", dropNoOps, `graph "g"
%x = input "x" f32[B,2]
%same = cast(%x) dtype=f32
%wide = cast(%same) dtype=f64
%back = cast(%wide) dtype=f32
%half = cast(%back) dtype=f16
%rounded = cast(%half) dtype=f32
output "y" %back
output "z" %rounded
`, `graph "g"
%x = input "x" f32[B,2]
%half = cast(%x) dtype=f16
%rounded = cast(%half) dtype=f32
output "y" %x
output "z" %rounded
`, 0},
	{"expands before what broadcasts", dropNoOps, `graph "g"
%x = input "x" f32[B,3]
%c = const "" f32[3] {1,2,3}
%e = expand(%c) shape=[1,3]
%f = expand(%e) shape=[B,3]
%y = add(%x,%f)
%z = mul(%f,%f)
output "y" %y
output "z" %z
`, `graph "g"
%x = input "x" f32[B,3]
%c = const "" f32[3] {1,2,3}
%f = expand(%c) shape=[B,3]
%y = add(%x,%c)
%z = mul(%c,%f)
output "y" %y
output "z" %z
`, 0},
	{"casts that round stay", dropNoOps, `graph "g"
%x = input "x" f64[B,2]
%i = input "i" i64[B,2]
%a = cast(%x) dtype=f32
%b = cast(%a) dtype=f64
%c = cast(%i) dtype=f32
%d = cast(%c) dtype=i64
%e = cast(%i) dtype=u8
%f = cast(%e) dtype=i64
output "b" %b
output "d" %d
output "f" %f
`, `graph "g"
%x = input "x" f64[B,2]
%i = input "i" i64[B,2]
%a = cast(%x) dtype=f32
%b = cast(%a) dtype=f64
%c = cast(%i) dtype=f32
%d = cast(%c) dtype=i64
%e = cast(%i) dtype=u8
%f = cast(%e) dtype=i64
output "b" %b
output "d" %d
output "f" %f
`, 0},
	{"slices, concats and empty reductions", dropNoOps, `graph "g"
%x = input "x" f32[B,3]
%a = slice(%x) axis=0
%b = slice(%a) axis=1 start=0 end=3
%c = concat(%b) axis=1
%d = sum(%c) axes=[]
%e = slice(%d) axis=1 step=2
output "y" %e
`, `graph "g"
%x = input "x" f32[B,3]
%e = slice(%x) axis=1 step=2
output "y" %e
`, 0},
}

var clampCases = []passCase{
	{"what overlaps", mergeClamps, `graph "g"
%x = input "x" f32[B,3]
%a = relu(%x)
%b = clamp(%a) min=-1 max=5
%six = const "" f32[] {4}
%y = minimum(%six,%b)
output "y" %y
`, `graph "g"
%x = input "x" f32[B,3]
%y = clamp(%x) min=0 max=4
output "y" %y
`, 0},
	{"what does not", mergeClamps, `graph "g"
%x = input "x" f32[B,3]
%a = clamp(%x) min=0 max=1
%y = clamp(%a) min=2 max=3
output "y" %y
`, `graph "g"
%x = input "x" f32[B,3]
%y = clamp(%x) min=2 max=2
output "y" %y
`, 0},
	{"a bound at zero and none", mergeClamps, `graph "g"
%x = input "x" f32[B,3]
%a = clamp(%x)
%zeros = const "" f32[3] {0,0,0}
%y = maximum(%a,%zeros)
%z = clamp(%y) min=0
output "y" %y
output "z" %z
`, `graph "g"
%x = input "x" f32[B,3]
%y = relu(%x)
%z = relu(%x)
output "y" %y
output "z" %z
`, 0},
	{"bounds that differ by feature stay", mergeClamps, `graph "g"
%x = input "x" f32[B,2]
%c = const "" f32[2] {0,1}
%y = maximum(%x,%c)
output "y" %y
`, `graph "g"
%x = input "x" f32[B,2]
%c = const "" f32[2] {0,1}
%y = maximum(%x,%c)
output "y" %y
`, 0},
	{"the inner value is still needed", mergeClamps, `graph "g"
%x = input "x" f32[B,2]
%a = clamp(%x) min=-2 max=2
%y = clamp(%a) min=-1 max=1
output "a" %a
output "y" %y
`, `graph "g"
%x = input "x" f32[B,2]
%a = clamp(%x) min=-2 max=2
%y = clamp(%x) min=-1 max=1
output "a" %a
output "y" %y
`, 0},
}

var biasCases = []passCase{
	{"matmul and sum", fuseBias, `graph "g"
%x = input "x" f32[B,2]
%w = const "w" f32[2,3] {1,2,3,4,5,6}
%b = const "b" f32[1,3] {0.5,1,1.5}
%m = matmul(%x,%w)
%y = add(%b,%m)
output "y" %y
`, `graph "g"
%x = input "x" f32[B,2]
%w = const "w" f32[3,2] {1,4,2,5,3,6}
%b = const "b" f32[3] {0.5,1,1.5}
%y = linear(%x,%w,%b)
output "y" %y
`, 1e-7},
	{"one number for all outputs", fuseBias, `graph "g"
%x = input "x" f32[B,2]
%w = const "w" f32[2,2] {1,2,3,4}
%b = const "" i64[] {3}
%m = linear(%x,%w)
%y = add(%m,%b)
output "y" %y
`, `graph "g"
%x = input "x" f32[B,2]
%w = const "w" f32[2,2] {1,2,3,4}
%b = const "" f32[2] {3,3}
%y = linear(%x,%w,%b)
output "y" %y
`, 1e-7},
	{"half precision keeps both roundings", fuseBias, `graph "g"
%x = input "x" bf16[B,2]
%w = const "w" bf16[2,1] {1,2}
%b = const "b" bf16[1] {0.5}
%m = matmul(%x,%w)
%y = add(%m,%b)
output "y" %y
`, `graph "g"
%x = input "x" bf16[B,2]
%w = const "w" bf16[1,2] {1,2}
%m = linear(%x,%w)
%b = const "b" bf16[1] {0.5}
%y = add(%m,%b)
output "y" %y
`, 0},
	{"a sum that someone else needs", fuseBias, `graph "g"
%x = input "x" f32[B,2]
%w = const "w" f32[1,2] {1,2}
%b = const "b" f32[1] {0.5}
%m = linear(%x,%w)
%y = add(%m,%b)
output "m" %m
output "y" %y
`, `graph "g"
%x = input "x" f32[B,2]
%w = const "w" f32[1,2] {1,2}
%m = linear(%x,%w)
%b = const "b" f32[1] {0.5}
%y = add(%m,%b)
output "m" %m
output "y" %y
`, 0},
	{"a sum that stretches the result", fuseBias, `graph "g"
%x = input "x" f32[B,2]
%w = const "w" f32[1,2] {1,2}
%b = const "b" f32[3] {1,2,3}
%m = linear(%x,%w)
%y = add(%m,%b)
output "y" %y
`, `graph "g"
%x = input "x" f32[B,2]
%w = const "w" f32[1,2] {1,2}
%m = linear(%x,%w)
%b = const "b" f32[3] {1,2,3}
%y = add(%m,%b)
output "y" %y
`, 0},
}
