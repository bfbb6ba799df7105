// Command kubernetes-schema writes down how the objects of Kubernetes are encoded: host/kubernetes/src/schema.txt, and the
// objects with which the decoder is tested.
//
//	go run . schema > ../../host/kubernetes/src/schema.txt
//	go run . samples 1 | zstd -19 > ../../host/kubernetes/tests/data/samples.jsonl.zst
//
// Everything is read from the types of the published modules: the generated.proto files are themselves generated from these
// types, and only the types tell what JSON leaves out.
package main

import (
	"bufio"
	"fmt"
	"os"
	"reflect"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

func main() {
	scheme := runtime.NewScheme()
	for _, builder := range groups {
		check(builder.AddToScheme(scheme))
	}
	out := bufio.NewWriter(os.Stdout)
	switch {
	case len(os.Args) == 2 && os.Args[1] == "schema":
		writeSchema(out, scheme)
	case len(os.Args) == 3 && os.Args[1] == "samples":
		random, err := strconv.Atoi(os.Args[2])
		check(err)
		writeSamples(out, scheme, random)
	default:
		fmt.Fprintln(os.Stderr, "usage: kubernetes-schema schema | samples NUMBER")
		os.Exit(2)
	}
	check(out.Flush())
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(2)
	}
}

// stored lists the kinds that can lie in etcd: those with ObjectMeta, and what is kept beside them.
func stored(scheme *runtime.Scheme) []schema.GroupVersionKind {
	var kinds []schema.GroupVersionKind
	for kind, goType := range scheme.AllKnownTypes() {
		field, ok := goType.FieldByName("ObjectMeta")
		if ok && field.Type == reflect.TypeFor[metav1.ObjectMeta]() && kind.Version != runtime.APIVersionInternal {
			kinds = append(kinds, kind)
		}
	}
	slices.SortFunc(kinds, func(a, b schema.GroupVersionKind) int {
		return strings.Compare(a.String(), b.String())
	})
	return kinds
}

func writeSchema(out *bufio.Writer, scheme *runtime.Scheme) {
	fmt.Fprintln(out, "# How Kubernetes encodes its objects. Made by tools/kubernetes-schema; not to be edited.")
	build, _ := debug.ReadBuildInfo()
	for _, module := range build.Deps {
		switch module.Path {
		case "k8s.io/api", "k8s.io/apimachinery", "k8s.io/apiextensions-apiserver", "k8s.io/kube-aggregator":
			fmt.Fprintf(out, "# From the types of %s %s, Copyright The Kubernetes Authors, Apache-2.0.\n", module.Path, module.Version)
		}
	}
	types := collection{seen: map[reflect.Type]bool{}}
	kinds := stored(scheme)
	for _, kind := range kinds {
		goType := scheme.AllKnownTypes()[kind]
		fmt.Fprintf(out, "kind %s %s %s\n", kind.GroupVersion(), kind.Kind, name(goType))
		types.add(goType)
	}
	slices.SortFunc(types.messages, func(a, b reflect.Type) int { return strings.Compare(name(a), name(b)) })
	for _, message := range types.messages {
		fmt.Fprintf(out, "message %s\n", name(message))
		for _, field := range types.fields(message) {
			fmt.Fprintln(out, field)
		}
	}
}

// Types whose JSON is not that of a message with these fields.
var special = map[string]string{
	"k8s.io/apimachinery/pkg/api/resource.Quantity":   "quantity",
	"k8s.io/apimachinery/pkg/apis/meta/v1.Duration":   "duration",
	"k8s.io/apimachinery/pkg/apis/meta/v1.FieldsV1":   "fields-v1",
	"k8s.io/apimachinery/pkg/apis/meta/v1.MicroTime":  "micro-time",
	"k8s.io/apimachinery/pkg/apis/meta/v1.Time":       "time",
	"k8s.io/apimachinery/pkg/runtime.RawExtension":    "raw-extension",
	"k8s.io/apimachinery/pkg/util/intstr.IntOrString": "int-or-string",
}

// The three unions and the raw value of JSON schemas, in both versions of their group.
var schemaForms = map[string]string{
	"JSON":                         "json",
	"JSONSchemaPropsOrArray":       "schema-or-array",
	"JSONSchemaPropsOrBool":        "schema-or-bool",
	"JSONSchemaPropsOrStringArray": "schema-or-strings",
}

// name shortens `k8s.io/api/core/v1.Pod` to `core/v1.Pod`.
func name(goType reflect.Type) string {
	path := strings.Split(goType.PkgPath(), "/")
	return strings.Join(path[max(0, len(path)-2):], "/") + "." + goType.Name()
}

type collection struct {
	seen     map[reflect.Type]bool
	messages []reflect.Type
}

func (c *collection) add(goType reflect.Type) {
	if c.seen[goType] {
		return
	}
	c.seen[goType] = true
	c.messages = append(c.messages, goType)
	c.fields(goType)
}

// fields gives a line for each field: number, JSON name, what JSON does with it, type.
//
// Second word: the name, or `-` where the fields of the message stand in the place of the field. Then flags: `p` a
// pointer (what is not there is null, what is there is shown whatever it is), `e` left out when empty, `z` left out when zero.
func (c *collection) fields(message reflect.Type) []string {
	var lines []string
	for i := range message.NumField() {
		field := message.Field(i)
		tag := strings.Split(field.Tag.Get("protobuf"), ",")
		if len(tag) < 2 {
			if field.Type == reflect.TypeFor[metav1.TypeMeta]() || field.Tag.Get("json") == "-" {
				continue // Stands in the envelope.
			}
			check(fmt.Errorf("%s.%s has no protobuf tag", name(message), field.Name))
		}
		json := strings.Split(field.Tag.Get("json"), ",")
		if json[0] == "-" {
			continue
		}
		flags := ""
		goType := field.Type
		if goType.Kind() == reflect.Pointer {
			flags += "p"
			goType = goType.Elem()
		}
		for _, option := range json[1:] {
			switch option {
			case "omitempty":
				flags += "e"
			case "omitzero":
				flags += "z"
			case "inline":
			default:
				check(fmt.Errorf("%s.%s has the JSON option %q", name(message), field.Name, option))
			}
		}
		if json[0] == "" {
			if !field.Anonymous {
				check(fmt.Errorf("%s.%s has no JSON name", name(message), field.Name))
			}
			json[0] = "-"
		}
		line := fmt.Sprintf("%s %s %s", tag[1], json[0], c.typeName(goType))
		if flags != "" {
			line += " " + flags
		}
		lines = append(lines, line)
	}
	return lines
}

func (c *collection) typeName(goType reflect.Type) string {
	path := goType.PkgPath() + "." + goType.Name()
	if form, ok := special[path]; ok {
		return form
	}
	if strings.Contains(goType.PkgPath(), "/apiextensions/") {
		if form, ok := schemaForms[goType.Name()]; ok {
			if form != "json" {

				c.add(schemaProps(goType))
				form += ":" + name(schemaProps(goType))
			}
			return form
		}
	}
	switch goType.Kind() {
	case reflect.Bool:
		return "bool"
	case reflect.String:
		return "string"
	case reflect.Int32, reflect.Int64:
		return "int"
	case reflect.Float64:
		return "double"
	case reflect.Slice:
		element := goType.Elem()
		if element.Kind() == reflect.Uint8 {
			return "bytes"
		}
		if _, ok := reflect.PointerTo(goType).MethodByName("Marshal"); ok {
			return "items:" + c.typeName(element) // A list that is a message of its own.
		}
		return "[]" + c.typeName(element)
	case reflect.Map:
		if goType.Key().Kind() != reflect.String {
			check(fmt.Errorf("a map by %s", goType.Key()))
		}
		return "map:" + c.typeName(goType.Elem())
	case reflect.Struct:
		c.add(goType)
		return name(goType)
	default:
		check(fmt.Errorf("unknown kind of type %s", goType))
		return ""
	}
}

func schemaProps(union reflect.Type) reflect.Type {
	field, _ := union.FieldByName("Schema")
	return field.Type.Elem()
}
