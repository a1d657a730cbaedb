//go:build ort && cgo

package ort

import (
	"fmt"
	"strconv"

	"github.com/yalue/onnxruntime_go"
)

// checkGPU tries the CUDA provider once, so that a machine without it is known
// when the server starts and not when the first model loads.
func (e *Engine) checkGPU() error {
	o, err := e.sessionOptions()
	if err != nil {
		return fmt.Errorf("%w: %s: no GPU: %w", ErrLibrary, e.library, err)
	}
	return o.Destroy()
}

// useGPU puts a session on the first CUDA device, and nowhere else.
func (e *Engine) useGPU(o *onnxruntime_go.SessionOptions) error {
	settings := map[string]string{
		"device_id": "0",
		// The arena grows by what is asked for, so that a limit is met late.
		"arena_extend_strategy": "kSameAsRequested",
		// The fraction of the convolution workspaces is bounded with the rest.
		"cudnn_conv_use_max_workspace": "0",
	}
	if f := e.options.GPUMemoryFraction; f > 0 && f < 1 {
		total, err := gpuMemory()
		if err != nil {
			return err
		}
		settings["gpu_mem_limit"] = strconv.FormatUint(uint64(float64(total)*f), 10)
	}
	cuda, err := onnxruntime_go.NewCUDAProviderOptions()
	if err != nil {
		return err
	}
	defer func() { _ = cuda.Destroy() }()
	if err := cuda.Update(settings); err != nil {
		return err
	}
	if err := o.AppendExecutionProviderCUDA(cuda); err != nil {
		return err
	}
	// Without this, an operator that CUDA lacks would run on the CPU unseen.
	return o.AddSessionConfigEntry("session.disable_cpu_ep_fallback", "1")
}
