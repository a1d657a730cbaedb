// Command rootfs writes the file tree of a container image: the program, the
// demo policy, the folders that the server expects, and a list of what was
// linked (SBOM). The Dockerfile calls it in its build stage.
//
// What enters is a checkout and a Go tree; what leaves is a folder whose names,
// modes, times and bytes depend on the commit and on the Go release alone, so
// that two builds of one commit give the same layer. It uses the standard
// library only and calls no program but go and, where it is there, git: a
// minimal build image is enough.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
)

// options are the arguments of the command.
type options struct {
	source string // Folder of the checkout.
	out    string // Folder that is written; it must not exist.
	facts  facts  // What the caller said of the commit; empty fields are asked of git.
	arch   string // GOARCH of the image.
	ort    string // Empty for the static program; else where ONNX Runtime's library comes from.
	sbom   string // A program whose bill of materials is all that is written, to out.
	libc   bool   // With ort: put the C library into the tree, for an image that has none.
}

func main() {
	var o options
	flag.StringVar(&o.source, "source", ".", "`folder` of the checkout")
	flag.StringVar(&o.out, "out", "", "`folder` to write, which must not exist")
	flag.StringVar(&o.facts.version, "version", "", "version of the program (default: from git)")
	flag.StringVar(&o.facts.commit, "commit", "", "commit of the program (default: from git)")
	flag.StringVar(&o.facts.date, "date", "", "time of the commit, RFC 3339 in UTC (default: from git)")
	flag.StringVar(&o.arch, "arch", "", "processor of the image, as GOARCH (default: this one)")
	flag.StringVar(&o.ort, "onnxruntime", "", "build with ONNX Runtime; its wheel, library or folder, or `pypi`")
	flag.StringVar(&o.sbom, "sbom", "", "only write the bill of materials of this `program`, to the file -out")
	flag.BoolVar(&o.libc, "libc", false, "with -onnxruntime: add the C library and what else is linked")
	flag.Parse()
	if o.arch == "" {
		o.arch = runtime.GOARCH
	}
	if err := run(o); err != nil {
		fmt.Fprintf(os.Stderr, "rootfs: %v\n", err)
		os.Exit(1)
	}
}

// run writes the tree.
func run(o options) error {
	if o.out == "" {
		return errors.New("-out is missing")
	}
	f, err := o.facts.complete(o.source)
	if err != nil {
		return err
	}
	if o.sbom != "" {
		return writeSBOM(o.sbom, o.out, f)
	}
	if _, err := os.Lstat(o.out); err == nil {
		return fmt.Errorf("%s is there already", o.out)
	}
	fmt.Printf("carla-rl %s, commit %s, %s, linux/%s\n", f.version, f.commit, f.date, o.arch)

	program := filepath.Join(o.out, programPath)
	if err := compile(o, f, program); err != nil {
		return err
	}
	var parts []component
	if o.ort != "" {
		if parts, err = addOnnxRuntime(o, program); err != nil {
			return err
		}
	}
	if err := layOut(o.source, o.out); err != nil {
		return err
	}
	if err := writeSBOM(program, filepath.Join(o.out, sbomPath), f, parts...); err != nil {
		return err
	}
	return freeze(o.out, f.time())
}
