//go:build unix

// Package docs_test keeps the documents true: the commands that they show are run and their output
// is compared, and what they name must exist.
package docs_test

import (
	"flag"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/candu-loader/candu-loader/loader/loadertest"
)

var (
	update = flag.Bool("update", false, "write the output of today into the documents where it differs")
	all    = flag.Bool("all", false, "with -update: also where nothing differs but times and ids")
)

// root is the repository, seen from this package.
const root = ".."

// programs is the directory of the programs that the documents call.
var programs string

func TestMain(m *testing.M) {
	os.Exit(loadertest.Within(loadertest.Options{}, func() int {
		if err := build(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		return m.Run()
	}))
}

// build builds the programs as the Makefile does, so that each package is compiled once.
func build() (err error) {
	if programs, err = os.MkdirTemp("", ""); err != nil {
		return fmt.Errorf("making a folder for the programs: %w", err)
	}
	cmd := exec.Command("go", "build", "-trimpath", "-o", programs, "./cmd/candu-loader", "./cmd/fake-segment", "./cmd/internal/demo")
	cmd.Dir, cmd.Env = root, append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("building the programs: %w\n%s", err, out)
	}
	return nil
}

// document is a file and its lines.
type document struct {
	name  string // from root
	lines []string
}

// documents reads every document that speaks of commands and files.
func documents(t *testing.T) []document {
	t.Helper()
	var names []string
	for _, pattern := range []string{"*.md", "docs/*.md", "queries/*.md"} {
		found, err := filepath.Glob(filepath.Join(root, pattern))
		require.NoError(t, err)
		names = append(names, found...)
	}
	var docs []document
	for _, name := range names {
		text, err := os.ReadFile(name)
		require.NoError(t, err)
		if name, err = filepath.Rel(root, name); name == "CHANGELOG.md" {
			continue // It tells of what was, too.
		}
		require.NoError(t, err)
		docs = append(docs, document{name, strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")})
	}
	require.NotEmpty(t, docs)
	return docs
}

// block is a fenced block of a document.
type block struct {
	language string
	// world is where it is tried, "" if it is not.
	world string
	// from and to are its lines, without the fences.
	from, to int
}

const worldComment = "<!-- world: "

// blocks finds the fenced blocks. A comment in the line before the fence names the world.
func (d *document) blocks(t *testing.T) []block {
	t.Helper()
	var found []block
	open := false
	for i, line := range d.lines {
		fence, ok := strings.CutPrefix(strings.TrimSpace(line), "```")
		switch {
		case !ok:
		case open:
			found[len(found)-1].to, open = i, false
		default:
			b := block{language: fence, from: i + 1}
			if i > 0 {
				if name, ok := strings.CutPrefix(d.lines[i-1], worldComment); ok {
					b.world = strings.TrimSuffix(name, " -->")
				}
			}
			found, open = append(found, b), true
		}
	}
	require.False(t, open, "%s: a fence is not closed", d.name)
	return found
}

// sources returns the text of every file of the program by its path from root. go test's
// cache learns by this that the documents depend on them.
var sources = sync.OnceValues(func() (map[string]string, error) {
	files := map[string]string{}
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		if entry.IsDir() {
			if name == "bin" || name == ".git" {
				return fs.SkipDir
			}
			return nil
		}
		switch filepath.Ext(name) {
		case ".go", ".sql", ".html", ".mod":
			text, err := os.ReadFile(path)
			files[filepath.ToSlash(name)] = string(text)
			return err
		}
		return nil
	})
	return files, err
})
