package config

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
)

// decoder walks the tree of the file and collects what is wrong with it. It goes
// on after a problem; values that could not be read stay at their default.
type decoder struct {
	path     string
	env      func(string) (string, bool)
	problems Problems
}

// value is a node and the path of its key.
type value struct {
	node ast.Node
	key  string
}

// line returns where the value stands.
func (v value) line() int {
	if v.node == nil || v.node.GetToken() == nil {
		return 0
	}
	return v.node.GetToken().Position.Line
}

func (d *decoder) problem(v value, hint, format string, args ...any) {
	column := 0
	if v.node != nil && v.node.GetToken() != nil {
		column = v.node.GetToken().Position.Column
	}
	d.problems = append(d.problems, Problem{File: d.path, Line: v.line(), Column: column, Key: v.key, Text: fmt.Sprintf(format, args...), Hint: hint})
}

// root parses the text; nil if it is no YAML or empty.
func (d *decoder) root(text []byte) ast.Node {
	file, err := parser.ParseBytes(text, 0, parser.AllowDuplicateMapKey())
	if err != nil {
		var syntax *yaml.SyntaxError
		if errors.As(err, &syntax) && syntax.Token != nil {
			d.problems = append(d.problems, Problem{
				File: d.path, Line: syntax.Token.Position.Line, Text: syntax.Message,
				Hint: "The file must be YAML; look at the indentation and at quotes around values with `: ` or `#`.",
			})
			return nil
		}
		d.problem(value{}, "The file must be YAML.", "%s", strings.TrimSpace(err.Error()))
		return nil
	}
	for _, doc := range file.Docs {
		if doc.Body != nil && doc.Body.Type() != ast.CommentType {
			return doc.Body
		}
	}
	d.problem(value{}, "config.yaml of the repository is a commented example.", "the file is empty")
	return nil
}

// keys calls the function of each key that is there. An unknown key and a key
// that stands twice are problems. It returns which keys were there.
func (d *decoder) keys(v value, known map[string]func(value)) map[string]value {
	present := map[string]value{}
	for _, pair := range d.pairs(v) {
		name := pair.Key.GetToken().Value
		key := name
		if v.key != "" {
			key = v.key + "." + name
		}
		at := value{node: pair.Key, key: key}
		read, ok := known[name]
		if !ok {
			names := slices.Sorted(maps.Keys(known))
			d.problem(at, suggest(name, names)+"Known here: "+strings.Join(names, ", ")+".", "unknown key")
			continue
		}
		if before, twice := present[name]; twice {
			d.problem(at, "Take one of them out.", "stands twice, first in line %d", before.line())
			continue
		}
		present[name] = at
		if isNull(pair.Value) {
			continue // As if it were not there.
		}
		read(value{node: pair.Value, key: key})
	}
	return present
}

// pairs returns the entries of a mapping; anything else is a problem.
func (d *decoder) pairs(v value) []*ast.MappingValueNode {
	switch node := unwrap(v.node).(type) {
	case *ast.MappingNode:
		return node.Values
	case *ast.MappingValueNode:
		return []*ast.MappingValueNode{node}
	default:
		d.problem(v, "", "expected keys and values, found %s", describe(node))
		return nil
	}
}

// items returns the entries of a list; a single scalar is a list of one.
func (d *decoder) items(v value) []value {
	node := unwrap(v.node)
	list, ok := node.(*ast.SequenceNode)
	if !ok {
		if _, scalar := node.(ast.ScalarNode); scalar {
			return []value{v}
		}
		d.problem(v, "", "expected a list, found %s", describe(node))
		return nil
	}
	items := make([]value, len(list.Values))
	for i, item := range list.Values {
		items[i] = value{node: item, key: fmt.Sprintf("%s[%d]", v.key, i)}
	}
	return items
}

// text returns a scalar with its variables expanded; ok is false if it is none,
// or one of them is unset.
func (d *decoder) text(v value) (text string, ok bool) {
	switch node := unwrap(v.node).(type) {
	case *ast.StringNode:
		return d.expand(v, node.Value)
	case *ast.LiteralNode:
		return d.expand(v, node.Value.Value)
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.InfinityNode, *ast.NanNode:
		return node.GetToken().Value, true
	case *ast.NullNode:
		return "", true
	default:
		d.problem(v, "", "expected a text, found %s", describe(node))
		return "", false
	}
}

var variable = regexp.MustCompile(`\$\$\{|\$\{([^}]*)\}`)
var variableName = regexp.MustCompile(`^([A-Za-z_][A-Za-z0-9_]*)(?::-(.*))?$`)

// expand replaces ${NAME} and ${NAME:-default}; $${ stands for ${. It works on
// one value, after parsing, so what a variable holds can't become YAML.
func (d *decoder) expand(v value, text string) (string, bool) {
	ok := true
	expanded := variable.ReplaceAllStringFunc(text, func(match string) string {
		if match == "$${" {
			return "${"
		}
		parts := variableName.FindStringSubmatch(match[2 : len(match)-1])
		if parts == nil {
			d.problem(v, "Write ${NAME} or ${NAME:-default}.", "%q is no variable", match)
			ok = false
			return ""
		}
		value, set := d.env(parts[1])
		hasDefault := strings.Contains(match, ":-")
		switch {
		case set && (value != "" || !hasDefault):
			return value
		case hasDefault:
			return parts[2]
		}
		d.problem(v, fmt.Sprintf("export %s=..., or give a default: ${%[1]s:-...}.", parts[1]), "the environment variable %s is not set", parts[1])
		ok = false
		return ""
	})
	return expanded, ok
}

func (d *decoder) setText(to *string) func(value) {
	return func(v value) {
		if text, ok := d.text(v); ok {
			*to = text
		}
	}
}

func (d *decoder) setInt(to *int, least, most int, unit string) func(value) {
	return func(v value) {
		text, ok := d.text(v)
		if !ok {
			return
		}
		n, err := strconv.Atoi(text)
		if err != nil || n < least || n > most {
			d.problem(v, "", "%q: expected a whole number of %s from %d to %d", text, unit, least, most)
			return
		}
		*to = n
	}
}

var days = regexp.MustCompile(`^([0-9]+)d`)

func (d *decoder) setDuration(to *time.Duration, least time.Duration) func(value) {
	return func(v value) {
		text, ok := d.text(v)
		if !ok {
			return
		}
		normal := days.ReplaceAllStringFunc(text, func(match string) string {
			n, _ := strconv.Atoi(match[:len(match)-1]) // It is digits; too many overflow below.
			return strconv.Itoa(n*24) + "h"
		})
		duration, err := time.ParseDuration(normal)
		if err != nil {
			d.problem(v, "For example 30s, 15m, 2h or 1d.", "%q: expected a duration with its unit", text)
			return
		}
		if duration < least {
			d.problem(v, "For example 30s, 15m, 2h or 1d.", "%q: expected a duration of at least %s", text, least)
			return
		}
		*to = duration
	}
}

func (d *decoder) setTexts(to *[]string) func(value) {
	return func(v value) {
		*to = nil
		for _, item := range d.items(v) {
			if text, ok := d.text(item); ok {
				*to = append(*to, text)
			}
		}
	}
}

// setFile reads a secret from a file, without the line end at its end.
func (d *decoder) setFile(to *string) func(value) {
	return func(v value) {
		path, ok := d.text(v)
		if !ok {
			return
		}
		text, err := os.ReadFile(path)
		if err != nil {
			d.problem(v, "The file must be there and readable for the loader's user.", "%s", err)
			return
		}
		*to = strings.TrimRight(string(text), "\r\n")
		if *to == "" {
			d.problem(v, "Write the secret into it.", "file %q is empty", path)
		}
	}
}

// unwrap looks through tags and anchors.
func unwrap(node ast.Node) ast.Node {
	for {
		switch inner := node.(type) {
		case *ast.TagNode:
			node = inner.Value
		case *ast.AnchorNode:
			node = inner.Value
		default:
			return node
		}
	}
}

func isNull(node ast.Node) bool {
	_, null := node.(*ast.NullNode)
	return null || node == nil
}

func describe(node ast.Node) string {
	switch node := node.(type) {
	case *ast.MappingNode, *ast.MappingValueNode:
		return "keys and values"
	case *ast.SequenceNode:
		return "a list"
	case *ast.NullNode, nil:
		return "nothing"
	case *ast.AliasNode:
		return "an alias"
	case ast.ScalarNode:
		return fmt.Sprintf("%q", node.GetToken().Value)
	default:
		return "something else"
	}
}
