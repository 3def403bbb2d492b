// Command mutants breaks the program on purpose, one promise after the other, and demands that the
// test which is named for it fails. A mutant that survives is a promise that nothing watches over.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "mutants:", err)
		os.Exit(1)
	}
}

func run() error {
	jobs := flag.Int("j", 2, "how many mutants are tried side by side")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	root, err := os.Getwd()
	if err != nil {
		return fmt.Errorf("finding the repository: %w", err)
	}
	mutants, err := load(root)
	if err != nil {
		return err
	}
	if names := flag.Args(); len(names) > 0 {
		mutants = slices.DeleteFunc(mutants, func(m mutant) bool { return !slices.Contains(names, m.name) })
	}
	temp, err := os.MkdirTemp("", "candu-mutants-")
	if err != nil {
		return fmt.Errorf("making a folder: %w", err)
	}
	defer func() { _ = os.RemoveAll(temp) }()
	t := &trial{root: root, temp: temp}
	if err := t.sound(ctx, *jobs, mutants); err != nil {
		return err
	}
	return t.all(ctx, *jobs, mutants)
}

// trial tries mutants.
type trial struct{ root, temp string }

// sound demands that the tests pass while nothing is broken: else their failing says nothing.
func (t *trial) sound(ctx context.Context, jobs int, mutants []mutant) error {
	type place struct{ pkg, tags string }
	tests := map[place][]string{}
	for _, m := range mutants {
		at := place{m.pkg, m.tags}
		for _, test := range m.tests {
			if !slices.Contains(tests[at], test) {
				tests[at] = append(tests[at], test)
			}
		}
	}
	var group errgroup.Group
	group.SetLimit(jobs)
	for at, names := range tests {
		group.Go(func() error {
			out, err := t.test(ctx, at.pkg, at.tags, names, "")
			if err != nil {
				return fmt.Errorf("testing %s without a mutant: %w\n%s", at.pkg, err, out)
			}
			for _, name := range names {
				if !strings.Contains(out, "--- PASS: "+name+" ") {
					return fmt.Errorf("testing %s without a mutant: there is no test %s", at.pkg, name)
				}
			}
			return nil
		})
	}
	return group.Wait()
}

// all tries each mutant, and prints what became of it.
func (t *trial) all(ctx context.Context, jobs int, mutants []mutant) error {
	var group errgroup.Group
	group.SetLimit(jobs)
	var mu sync.Mutex
	killed, troubles := 0, []error{}
	for _, m := range mutants {
		group.Go(func() error {
			began := time.Now()
			err := t.kill(ctx, &m)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				troubles = append(troubles, err)
				fmt.Printf("%v\n", err)
				return nil
			}
			killed++
			fmt.Printf("killed    %-36s %4.0fs  %s\n", m.name, time.Since(began).Seconds(), strings.Join(m.tests, ", "))
			return nil
		})
	}
	_ = group.Wait() // The troubles are collected.
	fmt.Printf("%d of %d mutants killed\n", killed, len(mutants))
	if len(troubles) > 0 {
		return errors.New("there are survivors, or mutants that don't fit")
	}
	return nil
}

// kill applies a mutant and runs its test, which must fail.
func (t *trial) kill(ctx context.Context, m *mutant) error {
	changed, err := m.apply(t.root)
	if err != nil {
		return err
	}
	overlay := struct{ Replace map[string]string }{map[string]string{}}
	dir := filepath.Join(t.temp, m.name)
	for file, text := range changed {
		at := filepath.Join(dir, file)
		if err := os.MkdirAll(filepath.Dir(at), 0o700); err != nil {
			return fmt.Errorf("writing mutant %q: %w", m.name, err)
		}
		if err := os.WriteFile(at, []byte(text), 0o600); err != nil {
			return fmt.Errorf("writing mutant %q: %w", m.name, err)
		}
		overlay.Replace[filepath.Join(t.root, file)] = at
	}
	text, err := json.Marshal(overlay)
	if err != nil {
		return fmt.Errorf("writing mutant %q: %w", m.name, err)
	}
	at := filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(at, text, 0o600); err != nil {
		return fmt.Errorf("writing mutant %q: %w", m.name, err)
	}
	out, err := t.test(ctx, m.pkg, m.tags, m.tests, at)
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("trying mutant %q: %w", m.name, ctx.Err())
	case err == nil:
		return fmt.Errorf("SURVIVED  %-36s %s\n          %s", m.name, strings.Join(m.tests, ", "), m.promise)
	case !strings.Contains(out, "--- FAIL: ") && !strings.Contains(out, "panic: "):
		return fmt.Errorf("trying mutant %q: %w\n%s", m.name, err, out)
	}
	return nil
}

// imports reports whether a package's tests import another package.
func (t *trial) imports(pkg, other string) bool {
	files, _ := filepath.Glob(filepath.Join(t.root, pkg, "*_test.go")) // The pattern is well-formed.
	return slices.ContainsFunc(files, func(file string) bool {
		text, err := os.ReadFile(file)
		return err == nil && bytes.Contains(text, []byte(`"`+other+`"`))
	})
}

// test runs tests of a package and returns what they print.
func (t *trial) test(ctx context.Context, pkg, tags string, names []string, overlay string) (string, error) {
	args := []string{"-count=1", "-v", "-vet=off", "-timeout=5m", "-run", pattern(names)}
	if overlay != "" && t.imports(pkg, "pgregory.net/rapid") {
		args = append(args, "-rapid.nofailfile") // What a mutant fails with is no test case.
	}
	if tags != "" {
		args = append(args, "-tags", tags)
	}
	if overlay != "" {
		args = append(args, "-overlay", overlay)
	}
	// The package goes before the flags that go test does not know.
	cmd := exec.CommandContext(ctx, "go", append([]string{"test", pkg}, args...)...)
	var out bytes.Buffer
	cmd.Dir, cmd.Stdout, cmd.Stderr = t.root, &out, &out
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	err := cmd.Run()
	return out.String(), err
}
