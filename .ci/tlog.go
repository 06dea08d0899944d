// Reads a log's published files with Go's own code for transparency logs and says what it found.
//
//	go run tlog.go VKEY LOG_FOLDER [PROOF_FILE…]
package main

import (
	"bufio"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// tiles reads tiles from a folder: x/mod has the tile's height in their names, C2SP has not.
type tiles struct{ folder string }

func (t tiles) Height() int { return 8 }

func (t tiles) ReadTiles(wanted []tlog.Tile) ([][]byte, error) {
	var all [][]byte
	for _, tile := range wanted {
		name := strings.Replace(tile.Path(), "tile/8/", "tile/", 1)
		bytes, err := os.ReadFile(filepath.Join(t.folder, name))
		if err != nil {
			return nil, err
		}
		all = append(all, bytes)
	}
	return all, nil
}

func (t tiles) SaveTiles([]tlog.Tile, [][]byte) {}

func must(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

// head reads a checkpoint under the one key that is trusted.
func head(bytes []byte, verifier note.Verifier) tlog.Tree {
	opened, err := note.Open(bytes, note.VerifierList(verifier))
	must(err)
	lines := strings.Split(opened.Text, "\n")
	if len(lines) != 4 || lines[0] != verifier.Name() {
		log.Fatalf("not a checkpoint of %s: %q", verifier.Name(), opened.Text)
	}
	size, err := strconv.ParseInt(lines[1], 10, 64)
	must(err)
	return tlog.Tree{N: size, Hash: hash(lines[2])}
}

func hash(text string) tlog.Hash {
	bytes, err := base64.StdEncoding.DecodeString(text)
	must(err)
	if len(bytes) != tlog.HashSize {
		log.Fatalf("%d bytes are no hash", len(bytes))
	}
	return tlog.Hash(*(*[tlog.HashSize]byte)(bytes))
}

// entries are the leaves in the entry bundles, in order.
func entries(folder string, size int64) [][]byte {
	var all [][]byte
	for first := int64(0); first < size; first += 256 {
		width := size - first
		if width > 256 {
			width = 256
		}
		name := strings.Replace(tlog.Tile{H: 8, L: -1, N: first / 256, W: int(width)}.Path(), "tile/8/data/", "tile/entries/", 1)
		bytes, err := os.ReadFile(filepath.Join(folder, name))
		must(err)
		for len(bytes) > 0 {
			length := int(binary.BigEndian.Uint16(bytes))
			all = append(all, bytes[2:2+length])
			bytes = bytes[2+length:]
		}
	}
	return all
}

// proved checks a proof of the program with this code.
func proved(file string, verifier note.Verifier) {
	bytes, err := os.ReadFile(file)
	must(err)
	top, checkpoint, found := strings.Cut(string(bytes), "\n\n")
	if !found {
		log.Fatalf("%s has no empty line", file)
	}
	var leaf []byte
	var index int64
	var path tlog.RecordProof
	lines := bufio.NewScanner(strings.NewReader(top))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		word, rest, _ := strings.Cut(lines.Text(), " ")
		switch word {
		case "c2sp.org/tlog-proof@v1":
		case "extra":
			leaf, err = base64.StdEncoding.DecodeString(rest)
			must(err)
		case "index":
			index, err = strconv.ParseInt(rest, 10, 64)
			must(err)
		default:
			path = append(path, hash(word))
		}
	}
	tree := head([]byte(checkpoint), verifier)
	must(tlog.CheckRecord(path, tree.N, tree.Hash, index, tlog.RecordHash(leaf)))
	if tlog.CheckRecord(path, tree.N, tree.Hash, index, tlog.RecordHash(append(leaf, 0))) == nil {
		log.Fatalf("%s proves any entry", file)
	}
}

func main() {
	log.SetFlags(0)
	verifier, err := note.NewVerifier(os.Args[1])
	must(err)
	folder := os.Args[2]
	checkpoint, err := os.ReadFile(filepath.Join(folder, "checkpoint"))
	must(err)
	tree := head(checkpoint, verifier)
	// This reader believes no tile that does not lead to the signed root.
	reader := tlog.TileHashReader(tree, tiles{folder})
	root, err := tlog.TreeHash(tree.N, reader)
	must(err)
	if root != tree.Hash {
		log.Fatalf("the tiles give %v, signed was %v", root, tree.Hash)
	}
	all := entries(folder, tree.N)
	if int64(len(all)) != tree.N {
		log.Fatalf("%d entries in the bundles, %d signed", len(all), tree.N)
	}
	for index, leaf := range all {
		found, err := reader.ReadHashes([]int64{tlog.StoredHashIndex(0, int64(index))})
		must(err)
		if found[0] != tlog.RecordHash(leaf) {
			log.Fatalf("entry %d is not the one in the tree", index)
		}
	}
	for _, file := range os.Args[3:] {
		proved(file, verifier)
	}
	fmt.Printf("%d entries and %d proofs\n", len(all), len(os.Args)-3)
}
