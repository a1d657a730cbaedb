//go:build ort && cgo

package ort

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Without a driver the size of the memory is an error that names it.
func TestGPUMemory(t *testing.T) {
	bytes, err := gpuMemory()
	drivers, _ := filepath.Glob("/proc/driver/nvidia/gpus/*")
	if _, missing := os.Stat("/dev/nvidiactl"); missing == nil && len(drivers) > 0 {
		if err != nil || bytes < 1<<28 {
			t.Errorf("%d bytes, %v", bytes, err)
		}
		return
	}
	if err == nil || !strings.Contains(err.Error(), "GPU's memory") {
		t.Errorf("%d bytes, %v", bytes, err)
	}
}
