package config

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"

	"github.com/candu-loader/candu-loader/loader/fault"
)

// decoder fills a Config from the tree of the file, and collects what is wrong on the way. The
// decoder of the YAML library ends with the first thing that is wrong; this one goes on, and
// leaves the value at its default.
//
// The tags of a field say what the file may hold:
//
//	yaml      its key
//	file      the key of a file that holds the value instead
//	default   its value if the key is not there
//	required  it must be there and not be empty; the remedy shows this value
//	trim      white space, a byte order mark and quotes around it are taken away, as of database URLs
//	unit, min, max  what is counted, and its bounds
type decoder struct {
	path     string
	env      func(string) (string, bool)
	problems Problems
	// lines are where the keys and the items of lists stand that the file gives, by their path.
	lines map[string]int
	// location is the time zone of the source that is being read.
	location *time.Location
}

// field is one of a struct that the file may fill.
type field struct {
	to        reflect.Value
	key, file string
	tag       reflect.StructTag
}

func fieldsOf(to reflect.Value) []field {
	var fields []field
	for i := 0; to.Kind() == reflect.Struct && i < to.NumField(); i++ {
		tag := to.Type().Field(i).Tag
		if key, file := tag.Get("yaml"), tag.Get("file"); key+file != "" {
			fields = append(fields, field{to.Field(i), key, file, tag})
		}
	}
	return fields
}

// decode fills c.
func (d *decoder) decode(text []byte, c *Config) {
	tokens := d.tokens(text)
	if len(d.problems) > 0 {
		return
	}
	d.oneDocument(tokens)
	file, err := parser.Parse(tokens, 0, parser.AllowDuplicateMapKey())
	if err != nil && len(d.problems) > 0 {
		return // The parser may stumble over the other document.
	}
	if err != nil {
		p := Problem{File: d.path, Text: strings.TrimSpace(err.Error()),
			Hint: "The file must be YAML; look at the indentation and at quotes around values with `: ` or `#`."}
		if syntax, ok := errors.AsType[*yaml.SyntaxError](err); ok && syntax.Token != nil {
			p.Line, p.Text = syntax.Token.Position.Line, syntax.Message
		}
		d.problems = Problems{p}
		return
	}
	begins := slices.IndexFunc(file.Docs, func(doc *ast.DocumentNode) bool { return doc.Body != nil && doc.Body.Type() != ast.DirectiveType })
	if begins < 0 && len(d.problems) == 0 {
		d.problem("", "config.yaml of the repository is a commented example.", "the file is empty")
	}
	if begins < 0 {
		return
	}
	to := reflect.ValueOf(c).Elem()
	d.preset(to)
	d.mapping("", file.Docs[begins].Body, to)
	d.rules(c)
}

// preset gives the fields of a struct their defaults.
func (d *decoder) preset(to reflect.Value) {
	for _, f := range fieldsOf(to) {
		d.preset(f.to)
		if text := f.tag.Get("default"); text != "" {
			if err := d.set(f, text); err != nil {
				panic(err) // Any use of the package finds it.
			}
		}
	}
}

// mapping fills the fields of a struct.
func (d *decoder) mapping(path string, node ast.Node, to reflect.Value) {
	fields := fieldsOf(to)
	var known []string
	for _, f := range fields {
		known = append(known, f.key, f.file)
	}
	slices.Sort(known)
	values := d.entries(path, node, slices.DeleteFunc(known, func(key string) bool { return key == "" }))
	if values == nil {
		return
	}
	for _, f := range fields {
		at, file := join(path, f.key), join(path, f.file)
		if values[f.key] != nil {
			d.value(at, values[f.key], f)
		}
		if values[f.file] != nil {
			if values[f.key] != nil {
				d.problem(at, "Remove one of them.", "is set beside %s", f.file)
			}
			d.file(file, values[f.file], f)
		}
		example, required := f.tag.Lookup("required")
		switch {
		case !required || !f.empty() || d.hasProblem(at) || d.hasProblem(file):
		case d.lines[at] > 0:
			d.problem(at, fmt.Sprintf("For example  %s: %s", f.key, example), "is empty")
		default:
			d.problem(at, fmt.Sprintf("Add:  %s: %s", f.key, example), "is missing")
		}
	}
}

func (f field) empty() bool {
	return f.to.IsZero() || (f.to.Kind() == reflect.String && strings.TrimSpace(f.to.String()) == "")
}

// value fills a field from a node.
func (d *decoder) value(path string, node ast.Node, f field) {
	switch to := f.to.Addr().Interface().(type) {
	case *[]*Source:
		for i, item := range d.items(path, node) {
			at := itemPath(path, i)
			*to = append(*to, &Source{Line: d.lines[at]})
			source := reflect.ValueOf((*to)[i]).Elem()
			d.preset(source)
			d.mapping(at, item, source)
		}
		return
	case *map[string]string:
		*to = map[string]string{}
		columns := d.entries(path, node, canonical)
		for _, name := range slices.Sorted(maps.Keys(columns)) {
			if text := d.text(join(path, name), columns[name]); text != "" {
				(*to)[name] = text
			}
		}
		return
	case *map[string]any:
		*to = d.integrations(path, node)
		return
	}
	_, scalar := node.(ast.ScalarNode)
	if _, words := reflect.TypeAssert[Kinds](f.to); len(fieldsOf(f.to)) > 0 && (!words || !scalar) {
		d.mapping(path, node, f.to)
		return
	}
	items := []ast.Node{node}
	if f.to.Kind() == reflect.Slice {
		f.to.SetZero()
		items = d.items(path, node)
	}
	for _, item := range items {
		d.check(path, d.set(f, d.text(path, item)))
	}
}

// file fills a field from the file that a key names: without the line end at its end, or line by
// line.
func (d *decoder) file(path string, node ast.Node, f field) {
	name := d.text(path, node)
	content, err := os.ReadFile(name)
	text := strings.TrimPrefix(strings.TrimRight(string(content), "\r\n"), bom)
	switch {
	case err != nil:
		d.check(path, invalid("The file must be there and readable by the loader's user.", "%s", err))
	case f.clean(text) == "":
		d.check(path, invalid("Write the secret into it.", "file %q is empty", name))
	case f.to.Kind() == reflect.Slice:
		for line := range strings.Lines(text) {
			d.check(path, d.set(f, strings.TrimSpace(line)))
		}
	default:
		d.check(path, d.set(f, text))
	}
}

// entries returns the values of a mapping that are not null; nil if it is none. A key that is not
// known or stands twice is a problem.
func (d *decoder) entries(path string, node ast.Node, known []string) map[string]ast.Node {
	values := d.pairs(path, node)
	for name, value := range inOrder(values) {
		if !slices.Contains(known, name) {
			d.problem(join(path, name), suggest(name, known)+"Known here: "+strings.Join(known, ", ")+".", "unknown key")
			delete(values, name)
		} else if value == nil || value.Type() == ast.NullType {
			delete(values, name)
		}
	}
	return values
}

// pairs returns the values of a mapping, whatever its keys are called; nil if it is none.
func (d *decoder) pairs(path string, node ast.Node) map[string]ast.Node {
	var pairs []*ast.MappingValueNode
	switch node := d.unwrap(path, node).(type) {
	case *ast.MappingNode:
		pairs = node.Values
	case *ast.MappingValueNode:
		pairs = append(pairs, node)
	default:
		d.expected(path, "keys and values", node)
		return nil
	}
	values := map[string]ast.Node{}
	for _, pair := range pairs {
		name, line := pair.Key.GetToken().Value, pair.Key.GetToken().Position.Line
		at := join(path, name)
		if pair.Key.Type() == ast.MergeKeyType {
			d.lines[at] = line
			d.problem(at, "Write the keys out.", "is a merge key, which is not read")
			continue
		}
		if d.lines[at] > 0 {
			d.problem(at, "Remove one of them.", "is set twice, again in line %d", line)
			continue
		}
		d.lines[at] = line
		values[name] = d.unwrap(at, pair.Value)
	}
	return values
}

// items returns the entries of a list; a single scalar is a list of one.
func (d *decoder) items(path string, node ast.Node) []ast.Node {
	items := []ast.Node{node}
	if list, ok := node.(*ast.SequenceNode); ok {
		items = list.Values
	} else if _, scalar := node.(ast.ScalarNode); !scalar {
		d.expected(path, "a list", node)
		return nil
	}
	for i, item := range items {
		d.lines[itemPath(path, i)] = item.GetToken().Position.Line
	}
	return items
}

// text returns a scalar with its variables expanded; one that has a problem counts for nothing.
func (d *decoder) text(path string, node ast.Node) string {
	switch node := d.unwrap(path, node).(type) {
	case *ast.LiteralNode:
		return d.expand(path, node.Value.Value)
	case *ast.NullNode:
		return ""
	case *ast.AliasNode:
		d.expected(path, "text", node)
	case ast.ScalarNode:
		return d.expand(path, node.GetToken().Value)
	default:
		d.expected(path, "text", node)
	}
	return ""
}

var variable = regexp.MustCompile(`\$\$\{|\$\{[^}]*\}`)
var variableName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// expand replaces ${NAME} and ${NAME:-default}; $${ stands for ${. It works on
// one value, after parsing, so what a variable holds can't become YAML.
func (d *decoder) expand(path, text string) string {
	return variable.ReplaceAllStringFunc(text, func(match string) string {
		if match == "$${" {
			return "${"
		}
		name, fallback, hasDefault := strings.Cut(match[2:len(match)-1], ":-")
		value, set := d.env(name)
		switch {
		case !variableName.MatchString(name):
			d.problem(path, "Write ${NAME} or ${NAME:-default}.", "%q is no variable", match)
		case hasDefault && value == "":
			return fallback
		case !set:
			d.problem(path, fmt.Sprintf("export %s=..., or give a default: ${%[1]s:-...}.", name), "the environment variable %s is not set", name)
		}
		return value
	})
}

// hasProblem tells whether a key, or one below it, has a problem already.
func (d *decoder) hasProblem(path string) bool {
	return slices.ContainsFunc(d.problems, func(p Problem) bool {
		below, found := strings.CutPrefix(p.Key, path)
		return path != "" && found && (below == "" || below[0] == '.' || below[0] == '[')
	})
}

// check makes a problem of an error and its hint, at the key, or at the key of the file that
// holds its value. One a key is enough.
func (d *decoder) check(path string, err error) {
	if d.lines[path] == 0 && d.lines[path+"_file"] > 0 {
		path += "_file"
	}
	if err != nil && !d.hasProblem(path) {
		d.problem(path, fault.HintOf(err), "%s", err)
	}
}

// problem adds one at a key, or at the nearest one around it that the file has.
func (d *decoder) problem(path, hint, format string, args ...any) {
	at := path
	for at != "" && d.lines[at] == 0 {
		at = at[:max(0, strings.LastIndexAny(at, ".["))]
	}
	d.problems = append(d.problems, Problem{File: d.path, Line: d.lines[at], Key: path, Text: fmt.Sprintf(format, args...), Hint: hint})
}

// join is the path of a key, "" if there is none.
func join(path, key string) string {
	if path == "" || key == "" {
		return key
	}
	return path + "." + key
}

func itemPath(path string, i int) string { return fmt.Sprintf("%s[%d]", path, i) }

// unwrap looks through an anchor, which is a problem, and a tag.
func (d *decoder) unwrap(path string, node ast.Node) ast.Node {
	if anchor, ok := node.(*ast.AnchorNode); ok {
		d.problem(path, "Take it away, and write the value out where it was used. "+quoteIt, "has an anchor (&), which is not read")
		node = anchor.Value
	}
	if tag, ok := node.(*ast.TagNode); ok {
		node = tag.Value
	}
	return node
}

// quoteIt is for those who never heard of anchors: what a password may begin with.
const quoteIt = "A text that begins with * or & needs quotes around it."

// expected says that a node is something else. Only its kind is told, in YAML's words; what stands in
// it may be a secret.
func (d *decoder) expected(path, what string, node ast.Node) {
	if _, ok := node.(*ast.AliasNode); ok {
		d.problem(path, "Write the value out. "+quoteIt, "is an alias (*), which is not read")
		return
	}
	d.problem(path, "", "expected %s, found %s", what, node.Type().YAMLName())
}
