package holdfast

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"strings"
	"unicode/utf8"
)

// ObjectKey says which object a key is for: PREFIX/RESOURCE[/NAMESPACE]/NAME, or PREFIX/GROUP/RESOURCE[/NAMESPACE]/NAME. What a key
// does not say is empty. Resources are called as the API calls them: nodes, though they lie under minions.
type ObjectKey struct {
	Group, Resource, Namespace, Name string
}

// What the API calls it, by what it is stored under where that differs.
var storedUnderAnotherName = map[string]string{
	"services/endpoints": "endpoints",
	"ingress":            "ingresses",
	"minions":            "nodes",
	"podsecuritypolicy":  "podsecuritypolicies",
	"controllers":        "replicationcontrollers",
	"services/specs":     "services",
}

// ParseObjectKey takes a key under prefix apart, which is /registry unless the API server was told otherwise. The answer is false when
// the key is not built as an object's key is.
func ParseObjectKey(prefix string, key []byte) (ObjectKey, bool) {
	path, below := strings.CutPrefix(string(key), strings.TrimRight(prefix, "/")+"/")
	if !below || !utf8.Valid(key) {
		return ObjectKey{}, false
	}
	var object ObjectKey
	stored, rest, found := strings.Cut(path, "/")
	// A group always has a dot, and a built-in resource never has one.
	if found && strings.Contains(stored, ".") {
		object.Group = stored
		stored, rest, found = strings.Cut(rest, "/")
	} else if part, after, more := strings.Cut(rest, "/"); more && stored == "services" && (part == "specs" || part == "endpoints") {
		// The one resource that is stored under two parts.
		stored, rest = stored+"/"+part, after
	}
	if !found || stored == "" {
		return ObjectKey{}, false
	}
	object.Resource = stored
	if name, other := storedUnderAnotherName[stored]; other && object.Group == "" {
		object.Resource = name
	}
	namespace, name, namespaced := strings.Cut(rest, "/")
	if namespaced {
		object.Namespace, object.Name = namespace, name
	} else {
		object.Name = rest
	}
	whole := object.Name != "" && !strings.Contains(object.Name, "/") && !(namespaced && namespace == "")
	return object, whole
}

// Object is what every object of Kubernetes says of itself.
type Object struct {
	APIVersion, Kind, Namespace, Name, UID string
	Labels                                 map[string]string
}

// Encryption is what the head of an encrypted value says: k8s:enc:PROVIDER:VERSION:KEY:.
type Encryption struct {
	Provider, Version, KeyName string
}

var (
	encrypted = []byte("k8s:enc:")
	protobuf  = []byte("k8s\x00")
)

// IsEncrypted says whether a value is encrypted at rest, going by its first bytes.
func IsEncrypted(value []byte) bool { return bytes.HasPrefix(value, encrypted) }

// ParseObject reads what a stored value says of its object, from protobuf and JSON alike. One of the two is set, or none when the value is
// none of the ways in which an API server stores objects. No error ever says what is in a value: it may be a Secret.
func ParseObject(value []byte) (*Object, *Encryption, error) {
	if head, is := bytes.CutPrefix(value, encrypted); is {
		parts := bytes.SplitN(head, []byte(":"), 4)
		if len(parts) < 4 || len(parts[0]) == 0 || len(parts[1]) == 0 || len(parts[3]) == 0 {
			return nil, nil, errors.New("broken head of an encrypted value")
		}
		return nil, &Encryption{string(parts[0]), string(parts[1]), string(parts[2])}, nil
	}
	var object *Object
	var err error
	if envelope, is := bytes.CutPrefix(value, protobuf); is {
		object, err = parseProtobuf(envelope)
	} else if bytes.HasPrefix(bytes.TrimLeft(value, " \t\r\n"), []byte("{")) {
		object, err = parseJSON(value)
	} else {
		return nil, nil, nil
	}
	if err == nil && (object.Kind == "" || object.APIVersion == "") {
		err = errors.New("it does not say what it is")
	}
	if err != nil {
		return nil, nil, err
	}
	return object, nil, nil
}

func parseJSON(value []byte) (*Object, error) {
	var stored struct {
		APIVersion string `json:"apiVersion"`
		Kind       string `json:"kind"`
		Metadata   struct {
			Name      string            `json:"name"`
			Namespace string            `json:"namespace"`
			UID       string            `json:"uid"`
			Labels    map[string]string `json:"labels"`
		} `json:"metadata"`
	}
	if json.Unmarshal(value, &stored) != nil {
		return nil, errors.New("broken JSON")
	}
	metadata := stored.Metadata
	return &Object{stored.APIVersion, stored.Kind, metadata.Namespace, metadata.Name, metadata.UID, metadata.Labels}, nil
}

// Protobuf without schemas: only the envelope (1 type: 1 apiVersion, 2 kind; 2 the object) and the metadata (field 1 of the object: 1
// name, 3 namespace, 5 uid, 11 labels) have fields that are known here. They are those of apimachinery's
// pkg/runtime/generated.proto and pkg/apis/meta/v1/generated.proto.
func parseProtobuf(envelope []byte) (*Object, error) {
	object := &Object{Labels: map[string]string{}}
	err := eachField(envelope, func(number uint64, content []byte) error {
		switch number {
		case 1:
			return texts(content, map[uint64]*string{1: &object.APIVersion, 2: &object.Kind})
		case 2:
			return eachField(content, func(number uint64, content []byte) error {
				if number != 1 {
					return nil
				}
				return parseMetadata(content, object)
			})
		}
		return nil
	})
	return object, err
}

func parseMetadata(metadata []byte, object *Object) error {
	known := map[uint64]*string{1: &object.Name, 3: &object.Namespace, 5: &object.UID}
	if err := texts(metadata, known); err != nil {
		return err
	}
	return eachField(metadata, func(number uint64, content []byte) error {
		if number != 11 {
			return nil
		}
		var name, value string
		err := texts(content, map[uint64]*string{1: &name, 2: &value})
		object.Labels[name] = value
		return err
	})
}

var errBroken = errors.New("broken protobuf")

// texts copies the fields of a message that are known.
func texts(message []byte, known map[uint64]*string) error {
	return eachField(message, func(number uint64, content []byte) error {
		if place := known[number]; place != nil {
			if content == nil || !utf8.Valid(content) {
				return errBroken
			}
			*place = string(content)
		}
		return nil
	})
}

// eachField walks a message to its end. A field that holds no bytes has nil as its content.
func eachField(message []byte, visit func(number uint64, content []byte) error) error {
	for len(message) > 0 {
		tag, read := binary.Uvarint(message)
		if read <= 0 || tag>>3 == 0 {
			return errBroken
		}
		message = message[read:]
		var size uint64
		var content []byte
		switch tag & 7 {
		case 0:
			if _, read = binary.Uvarint(message); read <= 0 {
				return errBroken
			}
			size = uint64(read)
		case 1:
			size = 8
		case 5:
			size = 4
		case 2:
			if size, read = binary.Uvarint(message); read <= 0 {
				return errBroken
			}
			message = message[read:]
		default:
			return errBroken
		}
		if size > uint64(len(message)) {
			return errBroken
		}
		if tag&7 == 2 {
			content = message[:size:size]
			if content == nil {
				content = []byte{}
			}
		}
		if err := visit(tag>>3, content); err != nil {
			return err
		}
		message = message[size:]
	}
	return nil
}
