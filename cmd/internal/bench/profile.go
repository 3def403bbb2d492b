//go:build unix

package main

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/google/pprof/profile"
)

// mergeProfiles makes one CPU profile of those in the folder and writes it to path, for the
// compiler (https://go.dev/doc/pgo): functions and lines, nothing about this machine.
func mergeProfiles(folder, path string) error {
	names, err := filepath.Glob(filepath.Join(folder, "*.prof"))
	if err != nil {
		return fmt.Errorf("merging profiles: %w", err)
	}
	var all []*profile.Profile
	for _, name := range names {
		one, err := readProfile(name)
		if err != nil {
			return err
		}
		all = append(all, one)
	}
	merged, err := profile.Merge(all)
	if err != nil {
		return fmt.Errorf("merging profiles: %w", err)
	}
	for _, m := range merged.Mapping {
		m.File, m.BuildID = "", ""
	}
	merged.TimeNanos = 0
	file, err := os.Create(path)
	if err != nil {
		return fmt.Errorf("writing the profile: %w", err)
	}
	if err := merged.Write(file); err != nil {
		return fmt.Errorf("writing profile %s: %w", path, err)
	}
	return file.Close()
}

func readProfile(path string) (*profile.Profile, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("reading a profile: %w", err)
	}
	defer func() { _ = file.Close() }()
	p, err := profile.Parse(file)
	if err != nil {
		return nil, fmt.Errorf("reading profile %s: %w", path, err)
	}
	return p, nil
}
