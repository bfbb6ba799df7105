// Program dns answers for a few names, with golang.org/x/net/dns/dnsmessage, for tests: a name may lead elsewhere each time it is
// asked for, as those do with which an attacker turns a resolver against its own network. It prints its address once it
// listens, and a line for each question.
package main

import (
	"flag"
	"fmt"
	"log"
	"net"
	"net/netip"
	"strings"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// One answer to a question: addresses of either family, in their order.
type answer []netip.Addr

// The answers for each name, one after the other; the last one stays.
type zone map[string][]answer

func (z zone) String() string { return "" }

// Set reads `rebind.example=192.0.2.1,2001:db8::1;127.0.0.1`: answers are parted by semicolons.
func (z zone) Set(text string) error {
	name, answers, found := strings.Cut(text, "=")
	if !found {
		return fmt.Errorf("%q is not NAME=ANSWER;ANSWER", text)
	}
	for _, one := range strings.Split(answers, ";") {
		var addresses answer
		for _, address := range strings.Split(one, ",") {
			parsed, err := netip.ParseAddr(address)
			if err != nil {
				return err
			}
			addresses = append(addresses, parsed)
		}
		z[name+"."] = append(z[name+"."], addresses)
	}
	return nil
}

// What has been asked for how often, by name and type.
type asked map[string]int

// reply answers one question; nil when it is none.
func (z zone) reply(packet []byte, asked asked) ([]byte, error) {
	var parser dnsmessage.Parser
	header, err := parser.Start(packet)
	if err != nil {
		return nil, err
	}
	question, err := parser.Question()
	if err != nil {
		return nil, err
	}
	name := strings.ToLower(question.Name.String())
	answers, known := z[name]
	reply := dnsmessage.Header{ID: header.ID, Response: true, Authoritative: true, RecursionDesired: header.RecursionDesired, RecursionAvailable: true}
	if !known {
		reply.RCode = dnsmessage.RCodeNameError
	}
	builder := dnsmessage.NewBuilder(nil, reply)
	if err := builder.StartQuestions(); err != nil {
		return nil, err
	}
	if err := builder.Question(question); err != nil {
		return nil, err
	}
	if err := builder.StartAnswers(); err != nil {
		return nil, err
	}
	key := name + question.Type.String()
	if known {
		// Both families are asked for at each look-up, and are told of the same one.
		turn := min(asked[key], len(answers)-1)
		asked[key]++
		for _, address := range answers[turn] {
			// Nobody may remember it.
			resource := dnsmessage.ResourceHeader{Name: question.Name, Class: dnsmessage.ClassINET, TTL: 0}
			switch {
			case address.Is4() && question.Type == dnsmessage.TypeA:
				err = builder.AResource(resource, dnsmessage.AResource{A: address.As4()})
			case address.Is6() && question.Type == dnsmessage.TypeAAAA:
				err = builder.AAAAResource(resource, dnsmessage.AAAAResource{AAAA: address.As16()})
			}
			if err != nil {
				return nil, err
			}
		}
	}
	fmt.Printf("asked %s %s\n", strings.TrimSuffix(name, "."), strings.TrimPrefix(question.Type.String(), "Type"))
	return builder.Finish()
}

func main() {
	names := zone{}
	address := flag.String("listen", "127.0.0.1:0", "where it listens, by UDP")
	flag.Var(names, "name", "NAME=ANSWER;ANSWER: what the name leads to, each answer a list of addresses; may be given again")
	flag.Parse()
	socket, err := net.ListenPacket("udp", *address)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(socket.LocalAddr())
	asked := asked{}
	packet := make([]byte, 4096)
	for {
		length, from, err := socket.ReadFrom(packet)
		if err != nil {
			log.Print(err)
			time.Sleep(time.Millisecond)
			continue
		}
		reply, err := names.reply(packet[:length], asked)
		if err != nil {
			log.Print(err)
			continue
		}
		if _, err := socket.WriteTo(reply, from); err != nil {
			log.Print(err)
		}
	}
}
