package config

import (
	"encoding/json"
	"fmt"
	"iter"
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/goccy/go-yaml/ast"

	"github.com/candu-loader/candu-loader/loader/fault"
)

// all is the one key of Segment's integrations object that is no destination's name. It counts
// only as it is written here: with `all: false`, which analytics-go makes, everything would go to
// every destination.
const all = "All"

// integrationsHint shows an integrations object.
const integrationsHint = "For example {All: false, Mixpanel: true}; destinations are called as in Segment."

// CheckIntegrations refuses an integrations object that Segment would take and not obey.
func CheckIntegrations(integrations map[string]any) error {
	for _, name := range slices.Sorted(maps.Keys(integrations)) {
		if err := checkIntegration(name, integrations[name]); err != nil {
			return &fault.Error{Kind: fault.Config, Err: err, Text: fmt.Sprintf("key %q", name)}
		}
	}
	return nil
}

func checkIntegration(name string, value any) error {
	_, isBool := value.(bool)
	_, isObject := value.(map[string]any)
	switch trimmed := strings.TrimSpace(name); {
	case trimmed == "":
		return invalid(integrationsHint, "a key is empty")
	case strings.EqualFold(trimmed, all) && name != all:
		return invalid("Did you mean All? Spelled otherwise, Segment takes it for a destination's name, and passes every event on to all.", "unknown key")
	case trimmed != name:
		return invalid("Did you mean "+trimmed+"?", "the key has blanks around it")
	case !isBool && !isObject:
		return invalid(integrationsHint, "expected true, false or an object")
	}
	if _, err := json.Marshal(value); err != nil {
		return invalid("Infinity and NaN have no place in JSON.", "has a value that no event can hold")
	}
	return nil
}

// integrations reads Segment's integrations object. What is wrong with a key is a problem at its
// line.
func (d *decoder) integrations(path string, node ast.Node) map[string]any {
	object := map[string]any{}
	for name, value := range inOrder(d.pairs(path, node)) {
		at := join(path, name)
		read := d.plain(at, value)
		// What a variable holds is a text; it can only be meant like this.
		if text, ok := read.(string); ok && (text == "true" || text == "false") {
			read = text == "true"
		}
		d.check(at, checkIntegration(name, read))
		object[name] = read
	}
	return object
}

// inOrder gives the entries of a mapping in the order of their names, so that problems come in
// the same order each time.
func inOrder(pairs map[string]ast.Node) iter.Seq2[string, ast.Node] {
	return func(yield func(string, ast.Node) bool) {
		for _, name := range slices.Sorted(maps.Keys(pairs)) {
			if !yield(name, pairs[name]) {
				return
			}
		}
	}
}

// plain reads what may be any value, with variables expanded in its texts.
func (d *decoder) plain(path string, node ast.Node) any {
	switch node := d.unwrap(path, node).(type) {
	case *ast.MappingNode, *ast.MappingValueNode:
		object := map[string]any{}
		for name, value := range inOrder(d.pairs(path, node)) {
			object[name] = d.plain(join(path, name), value)
		}
		return object
	case *ast.SequenceNode:
		list := make([]any, len(node.Values))
		for i, item := range node.Values {
			list[i] = d.plain(path, item)
		}
		return list
	case *ast.InfinityNode:
		return node.Value
	case *ast.NanNode:
		return math.NaN()
	case *ast.NullNode:
		return nil
	case *ast.BoolNode:
		return node.Value
	case *ast.IntegerNode:
		return node.Value
	case *ast.FloatNode:
		return node.Value
	default:
		return d.text(path, node)
	}
}
