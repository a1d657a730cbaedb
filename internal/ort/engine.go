//go:build ort && cgo

package ort

import (
	"fmt"
	"sync"

	"github.com/yalue/onnxruntime_go"
)

// Built tells whether this build holds ONNX Runtime.
const Built = true

// Engine is ONNX Runtime with the options of its sessions. It may be used from
// many goroutines.
type Engine struct {
	options Options
	library string
}

// environment is ONNX Runtime's own state, of which a process has one.
var environment struct {
	sync.Mutex        // guards what follows
	library    string // that was loaded, "" before the first Open
}

// Open loads ONNX Runtime's library, once a process. The error wraps
// ErrLibrary; it names the library that was tried.
func Open(o Options) (*Engine, error) {
	library, err := FindLibrary(o.Library, o.GPU)
	if err != nil {
		return nil, err
	}
	environment.Lock()
	defer environment.Unlock()
	switch environment.library {
	case library:
	case "":
		onnxruntime_go.SetSharedLibraryPath(library)
		if err := onnxruntime_go.InitializeEnvironment(onnxruntime_go.WithLogLevelFatal()); err != nil {
			wheel := "onnxruntime"
			if o.GPU {
				wheel = "onnxruntime-gpu"
			}
			return nil, fmt.Errorf("%w: %s: %w (set %s to libonnxruntime of version 1.24 or newer, as the Python package %s holds it)", ErrLibrary, library, err, LibraryVariable, wheel)
		}
		environment.library = library
	default:
		return nil, fmt.Errorf("%w: %s is loaded in this process, and %s cannot be beside it", ErrLibrary, environment.library, library)
	}
	e := &Engine{options: o, library: library}
	if o.GPU {
		if err := e.checkGPU(); err != nil {
			return nil, err
		}
	}
	return e, nil
}

// Name implements policy.Engine.
func (e *Engine) Name() string { return "onnxruntime" }

// Version returns that of the library.
func (e *Engine) Version() string { return onnxruntime_go.GetVersion() }

// Library returns the path of the library that was loaded.
func (e *Engine) Library() string { return e.library }

// sessionOptions makes the options of one session, which the caller destroys.
func (e *Engine) sessionOptions() (o *onnxruntime_go.SessionOptions, err error) {
	if o, err = onnxruntime_go.NewSessionOptions(); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			_ = o.Destroy()
		}
	}()
	if err = o.SetIntraOpNumThreads(max(e.options.Threads, 1)); err != nil {
		return nil, err
	}
	if err = o.SetInterOpNumThreads(1); err != nil {
		return nil, err
	}
	// A thread that waits for work would take it from another lane.
	if err = o.AddSessionConfigEntry("session.intra_op.allow_spinning", "0"); err != nil {
		return nil, err
	}
	if e.options.GPU {
		err = e.useGPU(o)
	}
	return o, err
}
