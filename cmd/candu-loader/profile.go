//go:build profile

package main

import (
	"fmt"
	"os"
	"runtime/pprof"
)

// With the tag profile the program writes a CPU profile to $CPU_PROFILE, for `make pgo`.
func init() {
	path := os.Getenv("CPU_PROFILE")
	if path == "" {
		return
	}
	around = func(work func() int) int {
		file, err := os.Create(path)
		if err == nil {
			err = pprof.StartCPUProfile(file)
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, "candu-loader: profiling:", err)
			return exitFailed
		}
		defer func() {
			pprof.StopCPUProfile()
			_ = file.Close()
		}()
		return work()
	}
}
