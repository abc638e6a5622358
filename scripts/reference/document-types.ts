/**
 * The types of the JSON documents, resolved by the project's own compiler. The compiler loads only the files
 * that declare the documents, by a configuration that exists in memory.
 */
import { join } from "node:path";
import { API, type Checker, type Project, type Type } from "typescript/unstable/async";
import { ROOT } from "../toolchain.ts";

/** The files that declare documents. */
const SOURCES = ["src/commands/shared/documents.ts", "src/library/event-queue.ts"] as const;

const CONFIG = join(ROOT, "tsconfig.documents.json");

/** The exported types of the files that declare documents. */
export class DocumentTypes {
  readonly #compiler: API;
  readonly #project: Project;

  private constructor(compiler: API, project: Project) {
    this.#compiler = compiler;
    this.#project = project;
  }

  /** Starts the compiler. @throws Error when it cannot load the files */
  static async load(): Promise<DocumentTypes> {
    const config = { extends: "./tsconfig.json", include: [], files: SOURCES };
    const compiler = new API({
      cwd: ROOT,
      fs: {
        readFile: (path) => (path === CONFIG ? JSON.stringify(config) : undefined),
        fileExists: (path) => (path === CONFIG ? true : undefined),
      },
    });
    const snapshot = await compiler.updateSnapshot({ openProjects: [CONFIG] });
    const project = snapshot.getProjects()[0];
    if (project !== undefined) return new DocumentTypes(compiler, project);
    await compiler.close();
    throw new Error("the compiler has not loaded the types of the documents");
  }

  /** The compiler's knowledge of types. */
  get checker(): Checker {
    return this.#project.checker;
  }

  /** An exported type by its name. @throws Error when no file exports it */
  async typeOf(name: string): Promise<Type> {
    const { program, checker } = this.#project;
    for (const source of SOURCES) {
      const file = await program.getSourceFile(join(ROOT, source));
      const module = file === undefined ? undefined : await checker.getSymbolAtLocation(file);
      const exported = module === undefined ? [] : await checker.getExportsOfModule(module);
      const found = exported.find((symbol) => symbol.name === name);
      if (found !== undefined) return await checker.getDeclaredTypeOfSymbol(found);
    }
    throw new Error(`${SOURCES.join(" and ")} export no ${name}`);
  }

  /** Ends the compiler. */
  async close(): Promise<void> {
    await this.#compiler.close();
  }
}
