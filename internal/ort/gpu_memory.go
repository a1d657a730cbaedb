//go:build ort && cgo

package ort

/*
#cgo linux LDFLAGS: -ldl
#include <dlfcn.h>
#include <stddef.h>

// The first three functions of the CUDA driver's interface, by the names that
// its library exports: int cuInit(unsigned), int cuDeviceGet(int *, int), int
// cuDeviceTotalMem_v2(size_t *, int).
static int totalMemory(size_t *bytes) {
	void *driver = dlopen("libcuda.so.1", RTLD_LAZY);
	if (driver == NULL) return -1;
	int (*init)(unsigned) = (int (*)(unsigned))dlsym(driver, "cuInit");
	int (*get)(int *, int) = (int (*)(int *, int))dlsym(driver, "cuDeviceGet");
	int (*total)(size_t *, int) = (int (*)(size_t *, int))dlsym(driver, "cuDeviceTotalMem_v2");
	int device = 0, rc = -2;
	if (init != NULL && get != NULL && total != NULL) {
		rc = init(0);
		if (rc == 0) rc = get(&device, 0);
		if (rc == 0) rc = total(bytes, device);
	}
	dlclose(driver);
	return rc;
}
*/
import "C"

import (
	"errors"
	"fmt"
)

// gpuMemory returns the memory of the first CUDA device in bytes.
func gpuMemory() (uint64, error) {
	var bytes C.size_t
	switch rc := C.totalMemory(&bytes); rc {
	case 0:
		return uint64(bytes), nil
	case -1:
		return 0, errors.New("the size of the GPU's memory is not known: there is no libcuda.so.1, the library of the NVIDIA driver")
	case -2:
		return 0, errors.New("the size of the GPU's memory is not known: libcuda.so.1 lacks its functions")
	default:
		return 0, fmt.Errorf("the size of the GPU's memory is not known: the CUDA driver answers error %d", int(rc))
	}
}
