package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// folder holds the mutants, below the repository's root.
const folder = "loader/torture/mutants"

// mutant is a change of the program that breaks a promise, and the test that must notice.
type mutant struct {
	name string
	// promise is the one of docs/guarantees.md that it breaks.
	promise string
	// pkg and tests are what kills it, with the build tags that they need.
	pkg, tags string
	tests     []string
	edits     []edit
}

// edit replaces a text that stands in a file exactly once.
type edit struct{ file, from, to string }

// load reads all mutants, in the order of their names.
func load(root string) ([]mutant, error) {
	files, err := filepath.Glob(filepath.Join(root, folder, "*.txt"))
	if err != nil || len(files) == 0 {
		return nil, fmt.Errorf("reading mutants: none in %q: %w", folder, errors.Join(err, os.ErrNotExist))
	}
	mutants := make([]mutant, len(files))
	for i, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("reading mutant: %w", err)
		}
		if mutants[i], err = parse(string(text)); err != nil {
			return nil, fmt.Errorf("reading mutant %q: %w", filepath.Base(file), err)
		}
		mutants[i].name = strings.TrimSuffix(filepath.Base(file), ".txt")
	}
	return mutants, nil
}

var header = regexp.MustCompile(`(?m)\A(?:#.*\n)*promise: (.+)\ntest: (\S+) (\S+)(?: tags=(\S+))?\n`)

// parse reads a mutant: comments, its promise, its test, and one or more edits, each a line
// "--- file", the text, a line "+++", and what replaces it.
func parse(text string) (mutant, error) {
	head := header.FindStringSubmatch(text)
	if head == nil {
		return mutant{}, errors.New("expected promise: TEXT, and test: PACKAGE NAME[|NAME] [tags=TAGS]")
	}
	m := mutant{promise: head[1], pkg: head[2], tests: strings.Split(head[3], "|"), tags: head[4]}
	for _, part := range strings.Split("\n"+text[len(head[0]):], "\n--- ")[1:] {
		file, rest, _ := strings.Cut(part, "\n")
		from, to, ok := strings.Cut("\n"+rest, "\n+++\n")
		from, to = strings.TrimPrefix(from, "\n"), strings.TrimSuffix(to, "\n")
		if !ok || from == "" || from == to {
			return m, fmt.Errorf("edit of %q: expected a text, +++, and another text", file)
		}
		m.edits = append(m.edits, edit{file, from, to})
	}
	if len(m.edits) == 0 {
		return m, errors.New("it has no edit")
	}
	return m, nil
}

// apply returns the files that it changes, as they are then.
func (m *mutant) apply(root string) (map[string]string, error) {
	changed := map[string]string{}
	for _, e := range m.edits {
		text, again := changed[e.file]
		if !again {
			content, err := os.ReadFile(filepath.Join(root, e.file))
			if err != nil {
				return nil, fmt.Errorf("applying mutant %q: %w", m.name, err)
			}
			text = string(content)
		}
		if n := strings.Count(text, e.from); n != 1 {
			return nil, fmt.Errorf("applying mutant %q: its text stands %d times in %s, expected once", m.name, n, e.file)
		}
		changed[e.file] = strings.Replace(text, e.from, e.to, 1)
	}
	return changed, nil
}

// pattern is what go test -run takes to run exactly these tests.
func pattern(tests []string) string {
	var tops []string
	for _, test := range tests {
		if top, _, _ := strings.Cut(test, "/"); !slices.Contains(tops, top) {
			tops = append(tops, top)
		}
	}
	return "^(" + strings.Join(tops, "|") + ")$"
}
