package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand"
	"reflect"
	"strings"
	"time"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apiextensionsv1beta1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1beta1"
	"k8s.io/apimachinery/pkg/api/apitesting/fuzzer"
	"k8s.io/apimachinery/pkg/api/apitesting/roundtrip"
	metafuzzer "k8s.io/apimachinery/pkg/apis/meta/fuzzer"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/runtime/serializer/protobuf"
	"sigs.k8s.io/randfill"
)

// The same objects every time.
const seed = 20261121

// sample is one object as it is stored, and as the API server shows it.
type sample struct {
	Stored []byte          `json:"stored"`
	Object json.RawMessage `json:"object"`
}

// writeSamples makes an object of each kind with every field filled, and some at random, in which fields have nothing or zero.
// All are encoded as Kubernetes does it.
func writeSamples(out *bufio.Writer, scheme *runtime.Scheme, random int) {
	codecs := serializer.NewCodecFactory(scheme)
	filler := fuzzer.FuzzerFor(fuzzer.MergeFuzzerFuncs(metafuzzer.Funcs, schemaFuncs), rand.NewSource(seed), codecs).
		NilChance(0.4).NumElements(0, 2).MaxDepth(14)
	encoder := protobuf.NewSerializer(scheme, scheme)
	for _, kind := range stored(scheme) {
		full, err := roundtrip.CompatibilityTestObject(scheme, kind, fullFuncs)
		check(err)
		writeSample(out, scheme, encoder, kind, full)
		if strings.Contains(kind.Version, "alpha") || strings.Contains(kind.Version, "beta") {
			continue
		}
		for range random {
			object, err := scheme.New(kind)
			check(err)
			filler.Fill(object)
			writeSample(out, scheme, encoder, kind, object)
		}
	}
}

func writeSample(out *bufio.Writer, scheme *runtime.Scheme, encoder *protobuf.Serializer, kind schema.GroupVersionKind, object runtime.Object) {
	object.GetObjectKind().SetGroupVersionKind(kind)
	var stored bytes.Buffer
	check(encoder.Encode(object, &stored))
	// What JSON shows of it is what comes out of the storage, which does not keep all that was put in.
	read, err := scheme.New(kind)
	check(err)
	_, _, err = encoder.Decode(stored.Bytes(), &kind, read)
	check(err)
	read.GetObjectKind().SetGroupVersionKind(kind)
	shown, err := json.Marshal(read)
	check(err)
	line, err := json.Marshal(sample{stored.Bytes(), shown})
	check(err)
	out.Write(line)
	out.WriteByte('\n')
}

// fullFuncs fills what cannot be filled field by field.
var fullFuncs = map[reflect.Type]roundtrip.FillFunc{
	reflect.TypeFor[*apiextensionsv1.JSON](): func(text string, _ int, value any) {
		value.(*apiextensionsv1.JSON).Raw = []byte(`"` + text + `"`)
	},
	reflect.TypeFor[*metav1.FieldsV1](): func(_ string, _ int, value any) {
		value.(*metav1.FieldsV1).SetRawString(`{"f:spec":{}}`)
	},
	reflect.TypeFor[*metav1.MicroTime](): func(_ string, number int, value any) {
		value.(*metav1.MicroTime).Time = time.Date(2000+number, 1, 1, 1, 1, 1, number*int(time.Microsecond), time.UTC)
	},
	reflect.TypeFor[*metav1.Time](): func(_ string, number int, value any) {
		value.(*metav1.Time).Time = time.Date(2000+number, 1, 1, 1, 1, 1, 0, time.UTC)
	},
	reflect.TypeFor[*runtime.RawExtension](): func(text string, number int, value any) {
		value.(*runtime.RawExtension).Raw = fmt.Appendf(nil, `{"kind":%q,"spec":{"replicas":%d}}`, text, number)
	},
	reflect.TypeFor[*apiextensionsv1beta1.JSON](): func(text string, _ int, value any) {
		value.(*apiextensionsv1beta1.JSON).Raw = []byte(`"` + text + `"`)
	},
}

// schemaFuncs keeps JSON schemas shallow and their raw values JSON.
func schemaFuncs(serializer.CodecFactory) []any {
	return []any{
		func(value *apiextensionsv1.JSON, _ randfill.Continue) { value.Raw = []byte(`{"a":[1,null,"x"]}`) },
		func(value *apiextensionsv1beta1.JSON, _ randfill.Continue) { value.Raw = []byte(`[true,2.5]`) },
		func(union *apiextensionsv1.JSONSchemaPropsOrBool, random randfill.Continue) {
			union.Allows = random.Bool()
			if union.Allows && random.Intn(8) == 0 {
				union.Schema = &apiextensionsv1.JSONSchemaProps{}
				random.Fill(union.Schema)
			}
		},
		func(union *apiextensionsv1.JSONSchemaPropsOrArray, random randfill.Continue) {
			if random.Bool() {
				union.JSONSchemas = []apiextensionsv1.JSONSchemaProps{{Type: "string"}, {Nullable: true}}
			} else {
				union.Schema = &apiextensionsv1.JSONSchemaProps{Type: "integer"}
			}
		},
		func(union *apiextensionsv1.JSONSchemaPropsOrStringArray, random randfill.Continue) {
			if random.Bool() {
				union.Property = []string{"a", "b"}
			} else {
				union.Schema = &apiextensionsv1.JSONSchemaProps{Type: "integer"}
			}
		},
	}
}
