package pickle

// opcode is a name for messages and what the machine does.
type opcode struct {
	name string
	do   func(*machine) error
}

const opStop = '.'

// opcodes are those of protocols 0 to 5. Opcodes that reach outside the file
// are here to be refused by their name.
var opcodes [256]opcode

func init() {
	def := func(code byte, name string, do func(*machine) error) {
		opcodes[code] = opcode{name, do}
	}
	def('(', "MARK", (*machine).opMark)
	def('0', "POP", (*machine).opPop)
	def('1', "POP_MARK", (*machine).opPopMark)
	def('2', "DUP", (*machine).opDup)
	def(0x80, "PROTO", (*machine).opProto)
	def(0x95, "FRAME", (*machine).opFrame)

	def('N', "NONE", constant(None{}))
	def(0x88, "NEWTRUE", constant(true))
	def(0x89, "NEWFALSE", constant(false))
	def('I', "INT", (*machine).opInt)
	def('L', "LONG", (*machine).opLong)
	def('F', "FLOAT", (*machine).opFloat)
	def('J', "BININT", (*machine).opBinInt)
	def('K', "BININT1", (*machine).opBinInt1)
	def('M', "BININT2", (*machine).opBinInt2)
	def(0x8a, "LONG1", (*machine).opLong1)
	def(0x8b, "LONG4", (*machine).opLong4)
	def('G', "BINFLOAT", (*machine).opBinFloat)

	def('S', "STRING", (*machine).opString)
	def('T', "BINSTRING", (*machine).opBinString)
	def('U', "SHORT_BINSTRING", sized((*machine).uint8, (*machine).pushRawString))
	def('V', "UNICODE", (*machine).opUnicode)
	def('X', "BINUNICODE", sized((*machine).uint32, (*machine).pushString))
	def(0x8c, "SHORT_BINUNICODE", sized((*machine).uint8, (*machine).pushString))
	def(0x8d, "BINUNICODE8", sized((*machine).uint64, (*machine).pushString))
	def('B', "BINBYTES", sized((*machine).uint32, (*machine).pushBytes))
	def('C', "SHORT_BINBYTES", sized((*machine).uint8, (*machine).pushBytes))
	def(0x8e, "BINBYTES8", sized((*machine).uint64, (*machine).pushBytes))
	def(0x96, "BYTEARRAY8", sized((*machine).uint64, (*machine).pushBytes))

	def(')', "EMPTY_TUPLE", func(m *machine) error { m.push(Tuple{}); return nil })
	def(']', "EMPTY_LIST", func(m *machine) error { m.push(&List{}); return nil })
	def('}', "EMPTY_DICT", func(m *machine) error { m.push(&Dict{}); return nil })
	def(0x8f, "EMPTY_SET", func(m *machine) error { m.push(&Set{}); return nil })
	def('t', "TUPLE", (*machine).opTuple)
	def(0x85, "TUPLE1", tuple(1))
	def(0x86, "TUPLE2", tuple(2))
	def(0x87, "TUPLE3", tuple(3))
	def('l', "LIST", (*machine).opList)
	def('d', "DICT", (*machine).opDict)
	def(0x91, "FROZENSET", (*machine).opFrozenSet)
	def('a', "APPEND", (*machine).opAppend)
	def('e', "APPENDS", (*machine).opAppends)
	def('s', "SETITEM", (*machine).opSetItem)
	def('u', "SETITEMS", (*machine).opSetItems)
	def(0x90, "ADDITEMS", (*machine).opAddItems)

	def('g', "GET", (*machine).opGet)
	def('h', "BINGET", memoGet((*machine).uint8))
	def('j', "LONG_BINGET", memoGet((*machine).uint32))
	def('p', "PUT", (*machine).opPut)
	def('q', "BINPUT", memoPut((*machine).uint8))
	def('r', "LONG_BINPUT", memoPut((*machine).uint32))
	def(0x94, "MEMOIZE", (*machine).opMemoize)

	def('c', "GLOBAL", (*machine).opGlobal)
	def(0x93, "STACK_GLOBAL", (*machine).opStackGlobal)
	def('R', "REDUCE", (*machine).opReduce)
	def('b', "BUILD", (*machine).opBuild)
	def('i', "INST", (*machine).opInst)
	def('o', "OBJ", (*machine).opObj)
	def(0x81, "NEWOBJ", (*machine).opNewObj)
	def(0x92, "NEWOBJ_EX", (*machine).opNewObjEx)
	def('P', "PERSID", (*machine).opPersID)
	def('Q', "BINPERSID", (*machine).opBinPersID)

	def(0x82, "EXT1", refuse("the extension registry is not part of the file"))
	def(0x83, "EXT2", refuse("the extension registry is not part of the file"))
	def(0x84, "EXT4", refuse("the extension registry is not part of the file"))
	def(0x97, "NEXT_BUFFER", refuse("out-of-band buffers are not part of the file"))
	def(0x98, "READONLY_BUFFER", refuse("out-of-band buffers are not part of the file"))
}
